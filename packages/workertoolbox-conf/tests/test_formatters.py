from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import (
    Config,
    InvalidValue,
    JSONFormatter,
    PlainFormatter,
    TaskIdFilter,
)


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no text")


def record(message: object = "hello", *args: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("shop", logging.INFO, "", 0, message, args, None)
    vars(made).update(more)
    return made


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = JSONFormatter().format(made)
    assert "\n" not in text
    line: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return line


def failed(error: Exception) -> logging.LogRecord:
    try:
        raise error
    except Exception:
        return record(exc_info=sys.exc_info())


def test_a_json_line_has_all_keys_outside_of_a_task() -> None:
    made = record("%s to sell", 3)
    line = as_json(made)
    at = datetime.fromisoformat(line.pop("timestamp"))

    assert at.tzinfo == UTC
    assert at.timestamp() == pytest.approx(made.created, abs=0.001)
    assert line == {
        "level": "INFO",
        "logger": "shop",
        "message": "3 to sell",
        "process": made.process,
        "task_id": None,
        "root_id": None,
        "queue": None,
        "task_name": None,
    }


def test_an_exception_is_one_string() -> None:
    exception = as_json(failed(KeyError("paper")))["exception"]

    assert exception.startswith("Traceback")
    assert exception.endswith("KeyError: 'paper'")


def test_exc_info_without_an_exception_is_left_out() -> None:
    assert "exception" not in as_json(record(exc_info=(None, None, None)))
    assert "exception" not in as_json(record(exc_info=True))


CIRCULAR: list[Any] = []
CIRCULAR.append(CIRCULAR)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, 5),
        ({"deep": [1.5, None]}, {"deep": [1.5, None]}),
        (Path("a/b"), "a/b"),
        ({"at": Path("a")}, {"at": "a"}),
        (float("nan"), "nan"),
        ({("a", 1): 2}, {"('a', 1)": 2}),
        (CIRCULAR, "[[...]]"),
        ("\ud800\x00", "\ud800\x00"),
        (Unprintable(), "<Unprintable that cannot be shown>"),
    ],
)
def test_every_extra_is_written_whatever_its_type(value: object, shown: Any) -> None:
    line = as_json(record(added=value, level="mine"))

    assert line["extra"] == {"added": shown, "level": "mine"}
    assert line["level"] == "INFO"


@pytest.mark.parametrize("formatter", [JSONFormatter(), PlainFormatter()])
def test_a_message_is_written_without_arguments_that_do_not_fit(
    formatter: logging.Formatter,
) -> None:
    assert "%d sold" in formatter.format(record("%d sold", "none"))
    assert "%s sold" in formatter.format(record("%s sold", Unprintable()))


def test_task_arguments_that_celery_adds_are_left_out() -> None:
    made = record(data={"args": "('geheim',)"})
    shown = as_json(made)
    made.name = "celery.worker.strategy"

    assert "geheim" in str(shown)
    assert "geheim" not in str(as_json(made))


def test_a_message_with_line_breaks_stays_on_one_line() -> None:
    line = PlainFormatter().format(record("a\nb\r\nc"))

    assert line.endswith(r" INFO shop: a\nb\r\nc")


@pytest.mark.parametrize("character", ["\x1b", "\x9b", "\u202e", "\u200b", "\u2028"])
def test_texts_of_others_cannot_control_the_terminal(character: str) -> None:
    evil = f"a{character}b"
    text = PlainFormatter().format(failed(ValueError(evil)))
    text += PlainFormatter().format(record(evil))

    assert character not in text
    assert text.count("a\\") == 2


def test_a_traceback_follows_a_plain_line() -> None:
    first, second, *_, last = PlainFormatter().format(failed(KeyError("x"))).split("\n")

    assert first.endswith("INFO shop: hello")
    assert second.startswith("Traceback")
    assert last == "KeyError: 'x'"


@pytest.mark.parametrize("formatter", [JSONFormatter(), PlainFormatter()])
def test_the_lines_of_a_running_task_have_its_ids(formatter: logging.Formatter) -> None:
    app = Celery("shop", set_as_current=False)

    @app.task(name="shop.sell", shared=False)
    def sell() -> str:
        return formatter.format(record())

    result = sell.apply(task_id="one", routing_key="shop")
    line = result.get().replace('": "', "=").replace('"', "")

    for shown in ("task_id=one", "root_id=one", "queue=shop", "task_name=shop.sell"):
        assert shown in line
    assert "shop.sell" not in formatter.format(record())


def test_ids_of_the_filter_are_not_repeated_as_extra() -> None:
    app = Celery("shop", set_as_current=False)

    @app.task(name="shop.sell", shared=False)
    def sell() -> dict[str, Any]:
        made = record(added=1)
        TaskIdFilter().filter(made)
        return as_json(made)

    line = sell.apply(task_id="one").get()
    outside = record()
    TaskIdFilter().filter(outside)

    assert line["task_id"] == "one"
    assert line["extra"] == {"added": 1}
    assert "extra" not in as_json(outside)
    assert as_json(record(queue="till"))["extra"] == {"queue": "till"}


@pytest.mark.parametrize("log_format", [None, "json", "plain"])
def test_a_configuration_does_not_set_up_handlers(
    log_format: Literal["json", "plain"] | None,
) -> None:
    names = (None, "celery", "celery.task", "celery.redirected")
    before = [list(logging.getLogger(name).handlers) for name in names]
    app = Celery("shop", set_as_current=False)
    app.config_from_object(Config(["export"], LOG_FORMAT=log_format))

    assert app.conf.LOG_FORMAT == log_format
    assert [logging.getLogger(name).handlers for name in names] == before


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(InvalidValue, match="LOG_FORMAT='xml'.*'json' or 'plain'"):
        Config(["export"], LOG_FORMAT="xml")  # type: ignore[arg-type]
