"""Truncation of large arguments."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from messages import message
from test_commands import run

from cadasta.workertoolbox.results import InvalidLimit, TaskStore
from cadasta.workertoolbox.results._arguments.truncation import truncate
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

NOW = datetime(2026, 6, 1, tzinfo=UTC)

#: Texts of 2,000 and 3,000 bytes as JSON.
LARGE, LARGER = "x" * 1998, "é" * 499 + "xxxx"


@pytest.mark.parametrize(
    ("arguments", "stored"),
    [
        (["a", LARGE, 1], ["a", "<truncated: 2000 bytes>", 1]),
        ({"a": 1, "b": LARGE}, {"a": 1, "b": "<truncated: 2000 bytes>"}),
        ([LARGE, LARGER], ["<truncated: 2000 bytes>", "<truncated: 3000 bytes>"]),
        ([{"folder": [LARGE]}], ["<truncated: 2014 bytes>"]),
        (LARGE, "x" * 1024 + "<truncated: 2000 bytes>"),
    ],
    ids=["list", "dict", "both", "nested", "text"],
)
def test_large_arguments_are_replaced_and_small_ones_kept(
    arguments: Any, stored: Any
) -> None:
    assert truncate(arguments, 1500) == stored


def test_no_more_is_truncated_than_necessary() -> None:
    assert truncate([LARGE, LARGER], 2500) == [LARGE, "<truncated: 3000 bytes>"]


@pytest.mark.parametrize("arguments", [["a" * 96], {"k": "a" * 91}, "a" * 98])
def test_arguments_that_just_fit_are_kept_whole(arguments: Any) -> None:
    assert len(json.dumps(arguments)) == 100
    assert truncate(arguments, 100) == arguments
    assert truncate(arguments, 99) != arguments


@pytest.mark.parametrize("count", [400, 1000, 100_000])
def test_the_first_of_many_small_arguments_are_kept(count: int) -> None:
    numbers = {f"key {n}": n for n in range(count)}
    [*items, mark] = truncate(list(numbers.values()), 1500)
    named = truncate(numbers, 1500)
    rest = named.pop("<truncated>")

    assert items == list(range(len(items)))
    assert 100 < len(items) < count
    assert f"<truncated: {count - len(items)} arguments, " in mark
    assert named == dict(list(numbers.items())[: len(named)])
    assert f"<truncated: {count - len(named)} arguments, " in rest


@pytest.mark.parametrize(
    "arguments",
    [
        [1] * 10_000,
        [LARGE] * 1000,
        {str(n): LARGE for n in range(1000)},
        {LARGE: 1, LARGER: 2},
        ["x" * 1000] * 1000,
        [*range(100), LARGE, [LARGER] * 9],
    ],
    ids=["numbers", "large", "dict", "keys", "middling", "mixed"],
)
def test_truncated_arguments_hardly_exceed_the_limit(arguments: Any) -> None:
    assert len(json.dumps(truncate(arguments, 1500))) < 1600


@pytest.fixture
def truncating_backend(app: Celery, url: str) -> Backend:
    """A backend that stores at most 1,500 bytes."""
    app.conf.MAX_ARGUMENT_BYTES = 1500
    return Backend(app, url.removeprefix("workertoolbox+"))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (["a", LARGE, 1], {"size": 1, "data": LARGER}),
        ([LARGER, "é😀"], {"token": LARGE}),
        (list(range(2000)), {f"key {n}": n for n in range(2000)}),
        ([], {"folder": [{"deep": LARGE}]}),
        (["a" * 1496], {"k": "a" * 1490}),
        (["a" * 1497], {"k": "a" * 1492}),
    ],
)
def test_the_monitor_and_the_result_backend_truncate_in_the_same_way(
    truncating_backend: Backend,
    store: TaskStore,
    args: list[Any],
    kwargs: dict[str, Any],
) -> None:
    read = read_task(message([args, kwargs, {}]), seen_at=NOW, max_bytes=1500)
    request = Context(id="1", task="export.project", args=args, kwargs=kwargs)
    truncating_backend.store_result("1", [LARGE] * 9, states.SUCCESS, request=request)
    stored = store.get("1")

    assert (stored.args, stored.kwargs) == (read.args, read.kwargs)
    assert stored.result == [LARGE] * 9


def test_a_megabyte_is_truncated_by_default(backend: Backend, store: TaskStore) -> None:
    huge = "x" * 2**20
    request = Context(id="1", task="export.project", args=["a", huge], kwargs={})
    backend.store_result("1", huge, states.SUCCESS, request=request)
    read = read_task(message([["a", huge], {}, {}]), seen_at=NOW)
    stored = store.get("1")

    assert stored.args == read.args == ["a", "<truncated: 1048578 bytes>"]
    assert stored.result == huge


def test_a_replayed_message_is_truncated(
    app: Celery, truncating_backend: Backend, store: TaskStore
) -> None:
    odd = message([[LARGE], {}, {}])
    with truncating_backend.database.engine.begin() as connection:
        write_batch(connection, [quarantine_record(odd, reason="r", seen_at=NOW)])
    run(app, "quarantine", "replay", "1")

    assert store.get("1").args == ["<truncated: 2000 bytes>"]


@pytest.mark.parametrize("limit", [0, -1, "64k", 1.5, True])
def test_an_invalid_limit_is_refused(app: Celery, url: str, limit: Any) -> None:
    app.conf.MAX_ARGUMENT_BYTES = limit
    with pytest.raises(
        InvalidLimit, match="MAX_ARGUMENT_BYTES=.* is not a number of bytes"
    ):
        Backend(app, url.removeprefix("workertoolbox+"))
