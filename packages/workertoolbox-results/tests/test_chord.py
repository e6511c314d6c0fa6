"""Counting the tasks of a header, whatever runs twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cadasta.workertoolbox.results._backend import chord_progress as _chord
from cadasta.workertoolbox.results._backend.chord_progress import Part, Progress
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results.backend import Backend

PART = Part("g", "0", 0, "SUCCESS", b"0")


@pytest.fixture
def database(backend: Backend) -> Iterator[Database]:
    _chord.begin(backend.database, "g", None)
    yield backend.database


def part(number: int) -> Part:
    return replace(PART, task_id=str(number), position=number)


def test_exactly_one_sees_the_chord_complete_by_its_own_news(
    database: Database,
) -> None:
    _chord.set_size(database, "g", 20)
    with ThreadPoolExecutor(8) as pool:
        twice = [part(number) for number in range(20)] * 2
        seen = list(pool.map(lambda each: _chord.record(database, each), twice))

    assert sum(news for _, news in seen) == 20
    assert sum(news for progress, news in seen if progress.waiting) == 1


def test_a_task_that_stands_in_a_header_twice_counts_twice(database: Database) -> None:
    _chord.set_size(database, "g", 2)
    _chord.record(database, PART)
    progress, news = _chord.record(database, replace(PART, position=1))

    assert news
    assert progress.complete


def test_a_chord_is_not_complete_before_its_size_is_known(database: Database) -> None:
    progress, _ = _chord.record(database, PART)

    assert not progress.complete


def test_tasks_that_were_added_are_waited_for(database: Database) -> None:
    _chord.add(database, "g")
    _chord.set_size(database, "g", 1)
    first, _ = _chord.record(database, part(0))
    second, _ = _chord.record(database, part(1))

    assert [first.complete, second.complete] == [False, True]


def test_what_comes_after_the_body_has_started_changes_nothing(
    database: Database,
) -> None:
    _chord.set_size(database, "g", 1)
    _chord.record(database, part(0))
    _chord.end(database, "g")
    again, news = _chord.record(database, part(0))

    assert not news
    assert not again.waiting
    assert _chord.fetch(database, "g") == (None, [])


def test_the_parts_come_back_in_the_order_of_the_header(database: Database) -> None:
    for number in (10, 2, 1):
        _chord.record(database, part(number))
    _, parts = _chord.fetch(database, "g")

    assert [each.position for each in parts] == [1, 2, 10]


def test_only_one_takes_a_chord_over(database: Database) -> None:
    _chord.set_size(database, "g", 1)
    progress, _ = _chord.record(database, PART)
    taken = [_chord.take_over(database, "g", progress) for _ in range(2)]

    assert taken == [True, False]


def test_what_is_counted_stays_if_who_publishes_the_header_runs_again(
    database: Database,
) -> None:
    _chord.set_size(database, "g", 2)
    _chord.record(database, part(0))
    _chord.begin(database, "g", b"[]")
    again, news = _chord.record(database, part(0))
    last, _ = _chord.record(database, part(1))

    assert not news and not again.complete
    assert last.waiting
    assert _chord.fetch(database, "g") == (b"[]", [part(0), part(1)])


def test_a_chord_that_is_run_again_begins_anew(database: Database) -> None:
    _chord.set_size(database, "g", 1)
    _chord.record(database, PART)
    _chord.end(database, "g")
    _chord.begin(database, "g", b"[]")

    assert _chord.find(database, "g") == Progress(None, 0, 0, 0, False)
    assert _chord.fetch(database, "g") == (b"[]", [])
