"""Counting the tasks of a header, whatever runs twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from cadasta.workertoolbox.results import _chord
from cadasta.workertoolbox.results._chord import Part, Progress
from cadasta.workertoolbox.results.backend import Backend

PART = Part("g", "0", 0, "SUCCESS", b"0")


@pytest.fixture
def engine(backend: Backend) -> Iterator[Engine]:
    _chord.begin(backend.engine, "g", None)
    yield backend.engine


def part(number: int) -> Part:
    return replace(PART, task_id=str(number), position=number)


def test_exactly_one_sees_the_chord_complete_by_its_own_news(engine: Engine) -> None:
    _chord.set_size(engine, "g", 20)
    with ThreadPoolExecutor(8) as pool:
        twice = [part(number) for number in range(20)] * 2
        seen = list(pool.map(lambda each: _chord.record(engine, each), twice))

    assert sum(news for _, news in seen) == 20
    assert sum(news for progress, news in seen if progress.waiting) == 1


def test_a_task_that_stands_in_a_header_twice_counts_twice(engine: Engine) -> None:
    _chord.set_size(engine, "g", 2)
    _chord.record(engine, PART)
    progress, news = _chord.record(engine, replace(PART, position=1))

    assert news
    assert progress.complete


def test_a_chord_is_not_complete_before_its_size_is_known(engine: Engine) -> None:
    progress, _ = _chord.record(engine, PART)

    assert not progress.complete


def test_tasks_that_were_added_are_waited_for(engine: Engine) -> None:
    _chord.add(engine, "g")
    _chord.set_size(engine, "g", 1)
    first, _ = _chord.record(engine, part(0))
    second, _ = _chord.record(engine, part(1))

    assert [first.complete, second.complete] == [False, True]


def test_what_comes_after_the_body_has_started_changes_nothing(engine: Engine) -> None:
    _chord.set_size(engine, "g", 1)
    _chord.record(engine, part(0))
    _chord.end(engine, "g")
    again, news = _chord.record(engine, part(0))

    assert not news
    assert not again.waiting
    assert _chord.fetch(engine, "g") == (None, [])


def test_the_parts_come_back_in_the_order_of_the_header(engine: Engine) -> None:
    for number in (10, 2, 1):
        _chord.record(engine, part(number))
    _, parts = _chord.fetch(engine, "g")

    assert [each.position for each in parts] == [1, 2, 10]


def test_only_one_takes_a_chord_over(engine: Engine) -> None:
    _chord.set_size(engine, "g", 1)
    progress, _ = _chord.record(engine, PART)
    taken = [_chord.take_over(engine, "g", progress) for _ in range(2)]

    assert taken == [True, False]


def test_a_chord_that_is_run_again_begins_anew(engine: Engine) -> None:
    _chord.set_size(engine, "g", 1)
    _chord.record(engine, PART)
    _chord.end(engine, "g")
    _chord.begin(engine, "g", b"[]")

    assert _chord.find(engine, "g") == Progress(None, 0, 0, 0, False)
    assert _chord.fetch(engine, "g") == (b"[]", [])
