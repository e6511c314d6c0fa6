from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import (
    Config,
    InvalidValue,
    JSONFormatter,
    PlainFormatter,
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
        raise AssertionError(f"{name} is no JSON")

    text = JSONFormatter().format(made)
    assert "\n" not in text
    line: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return line


def failed(error: Exception) -> logging.LogRecord:
    try:
        raise error
    except Exception:
        return record(exc_info=sys.exc_info())


def test_a_line_in_json_has_its_keys_also_outside_of_tasks() -> None:
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


def test_no_exception_is_none() -> None:
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
        (Unprintable(), "<Unprintable without a text>"),
    ],
)
def test_what_a_caller_adds_is_shown_whatever_it_is(value: object, shown: Any) -> None:
    line = as_json(record(added=value, level="mine"))

    assert line["extra"] == {"added": shown, "level": "mine"}
    assert line["level"] == "INFO"


@pytest.mark.parametrize("formatter", [JSONFormatter(), PlainFormatter()])
def test_a_message_whose_arguments_do_not_fit_is_shown_without(
    formatter: logging.Formatter,
) -> None:
    assert "%d sold" in formatter.format(record("%d sold", "none"))
    assert "%s sold" in formatter.format(record("%s sold", Unprintable()))


def test_nothing_of_the_arguments_that_celery_adds_is_shown() -> None:
    made = record(data={"args": "('geheim',)"})
    shown = as_json(made)
    made.name = "celery.worker.strategy"

    assert "geheim" in str(shown)
    assert "geheim" not in str(as_json(made))


def test_no_message_can_forge_a_line() -> None:
    line = PlainFormatter().format(record("a\nb\r\nc"))

    assert line.endswith(r" INFO shop: a\nb\r\nc")


def test_a_plain_line_has_the_traceback_below() -> None:
    first, second, *_, last = PlainFormatter().format(failed(KeyError("x"))).split("\n")

    assert first.endswith("INFO shop: hello")
    assert second.startswith("Traceback")
    assert last == "KeyError: 'x'"


@pytest.mark.parametrize("formatter", [JSONFormatter(), PlainFormatter()])
def test_a_running_task_is_on_its_lines(formatter: logging.Formatter) -> None:
    app = Celery("shop", set_as_current=False)

    @app.task(name="shop.sell", shared=False)
    def sell() -> str:
        return formatter.format(record())

    result = sell.apply(task_id="one", routing_key="shop")
    line = result.get().replace('": "', "=").replace('"', "")

    for shown in ("task_id=one", "root_id=one", "queue=shop", "task_name=shop.sell"):
        assert shown in line
    assert "shop.sell" not in formatter.format(record())


@pytest.mark.parametrize("log_format", [None, "json", "plain"])
def test_a_configuration_sets_no_handler_up(log_format: str | None) -> None:
    names = (None, "celery", "celery.task", "celery.redirected")
    before = [list(logging.getLogger(name).handlers) for name in names]
    app = Celery("shop", set_as_current=False)
    app.config_from_object(Config(["export"], LOG_FORMAT=log_format))

    assert app.conf.LOG_FORMAT == log_format
    assert [logging.getLogger(name).handlers for name in names] == before


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidValue, match="LOG_FORMAT='xml'.*'json' or 'plain'"):
        Config(["export"], LOG_FORMAT="xml")
