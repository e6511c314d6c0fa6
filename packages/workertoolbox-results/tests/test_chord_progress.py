"""Counting of the header tasks of chords: each once, however often it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import psycopg2

from cadasta.workertoolbox.results._backend import (
    chord_progress,
    chord_statements,
    chords,
)
from cadasta.workertoolbox.results._backend.chord_progress import (
    ChordPart,
    ChordProgress,
)
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.tables import chord
from cadasta.workertoolbox.results.backend import Backend

PART = ChordPart("g", "0", 0, "SUCCESS", b"0")


@pytest.fixture
def database(backend: Backend) -> Iterator[Database]:
    chord_progress.create(backend.database, "g", None)
    yield backend.database


def part(number: int) -> ChordPart:
    return replace(PART, task_id=str(number), position=number)


def test_exactly_one_new_part_completes_the_chord(
    database: Database,
) -> None:
    chord_progress.set_size(database, "g", 20)
    with ThreadPoolExecutor(8) as pool:
        parts = [part(number) for number in range(20)] * 2
        outcomes = list(
            pool.map(lambda one: chord_progress.record_part(database, one), parts)
        )

    assert sum(is_new for _, is_new in outcomes) == 20
    assert sum(is_new for progress, is_new in outcomes if progress.is_body_due) == 1


def test_a_chord_of_another_result_backend_is_logged_once(
    app: Celery, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    chord_progress.create(backend.database, "known", None)
    for group, id in [("g", "1"), ("g", "2"), ("g", "1"), ("known", "3")]:
        request = Context(id=id, group=group, task="export.site", chord={})
        backend.on_chord_part_return(request, "SUCCESS", 1)
    [record] = caplog.records

    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        "Chord g: export.site[1] is done, but this database does not know the chord: "
        "a service with another result backend has begun it. This worker"
    )


def test_a_task_that_is_in_a_header_twice_counts_twice(database: Database) -> None:
    chord_progress.set_size(database, "g", 2)
    chord_progress.record_part(database, PART)
    progress, is_new = chord_progress.record_part(database, replace(PART, position=1))

    assert is_new
    assert progress.is_complete


def test_a_chord_is_not_complete_before_its_size_is_known(database: Database) -> None:
    progress, _ = chord_progress.record_part(database, PART)

    assert not progress.is_complete


def test_a_chord_is_not_complete_before_its_added_tasks_are_done(
    database: Database,
) -> None:
    chord_progress.add_task(database, "g")
    chord_progress.set_size(database, "g", 1)
    first, _ = chord_progress.record_part(database, part(0))
    second, _ = chord_progress.record_part(database, part(1))

    assert [first.is_complete, second.is_complete] == [False, True]


def test_a_part_that_comes_after_the_body_has_started_is_not_counted(
    database: Database,
) -> None:
    chord_progress.set_size(database, "g", 1)
    chord_progress.record_part(database, part(0))
    chord_progress.mark_started(database, "g")
    again, is_new = chord_progress.record_part(database, part(0))

    assert not is_new
    assert not again.is_body_due
    assert chord_progress.fetch_parts(database, "g") == (None, [])


def test_parts_are_fetched_in_the_order_of_the_header(database: Database) -> None:
    for number in (10, 2, 1):
        chord_progress.record_part(database, part(number))
    _, parts = chord_progress.fetch_parts(database, "g")

    assert [part.position for part in parts] == [1, 2, 10]


def test_parts_whose_position_is_not_known_are_fetched_in_the_order_of_their_ids(
    database: Database,
) -> None:
    for id in "cab":
        chord_progress.record_part(database, replace(PART, task_id=id, position=-1))
    _, parts = chord_progress.fetch_parts(database, "g")

    assert [part.task_id for part in parts] == ["a", "b", "c"]


def test_only_one_process_can_claim_the_body(database: Database) -> None:
    chord_progress.set_size(database, "g", 1)
    progress, _ = chord_progress.record_part(database, PART)
    claimed = [chord_progress.claim_body(database, PART, progress) for _ in range(2)]

    assert claimed == [True, False]


def test_a_process_that_waits_claims_the_body_if_the_one_that_has_claimed_it_dies(
    backend: Backend, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chords, "TAKEOVER_S", 0.2)
    chord_progress.set_size(database, "g", 1)
    progress, _ = chord_progress.record_part(database, PART)
    chord_progress.claim_body(database, PART, progress)

    assert backend._claim_body(PART, progress, is_lost=False)


def test_the_body_of_a_chord_that_runs_again_cannot_be_claimed_for_its_first_run(
    database: Database,
) -> None:
    chord_progress.set_size(database, "g", 1)
    progress, _ = chord_progress.record_part(database, PART)
    chord_progress.mark_started(database, "g")
    chord_progress.create(database, "g", None)

    assert not chord_progress.claim_body(database, PART, progress)


def test_the_starter_is_the_task_that_was_counted_last_or_has_claimed_the_body(
    database: Database,
) -> None:
    chord_progress.set_size(database, "g", 2)
    parts = [part(0), part(1), part(0)]
    seen = [chord_progress.record_part(database, each)[0] for each in parts]
    chord_progress.claim_body(database, part(0), seen[-1])
    claimed = chord_progress.find(database, "g")

    assert [progress.starter_id for progress in seen] == ["0", "1", "1"]
    assert claimed is not None and claimed.starter_id == "0"


def test_counts_stay_if_the_publisher_of_the_header_runs_again(
    database: Database,
) -> None:
    chord_progress.set_size(database, "g", 2)
    chord_progress.record_part(database, part(0))
    chord_progress.create(database, "g", b"[]")
    again, is_new = chord_progress.record_part(database, part(0))
    last, _ = chord_progress.record_part(database, part(1))

    assert not is_new and not again.is_complete
    assert last.is_body_due
    assert chord_progress.fetch_parts(database, "g") == (b"[]", [part(0), part(1)])


def test_a_chord_that_runs_again_counts_from_zero(database: Database) -> None:
    chord_progress.set_size(database, "g", 1)
    chord_progress.record_part(database, PART)
    chord_progress.mark_started(database, "g")
    chord_progress.create(database, "g", b"[]")

    assert chord_progress.find(database, "g") == ChordProgress(None, 0, 0, 0, False)
    assert chord_progress.fetch_parts(database, "g") == (b"[]", [])


def test_a_chord_that_was_never_seen_has_no_progress(database: Database) -> None:
    assert chord_progress.find(database, "other") is None


def test_a_task_of_a_chord_that_was_never_created_is_counted(
    database: Database,
) -> None:
    progress, is_new = chord_progress.record_part(
        database, replace(PART, chord_id="other")
    )

    assert is_new
    assert progress == ChordProgress(None, 0, 1, 0, False, "0", is_known=False)
    assert chord_progress.find(database, "other") == progress
    assert chord_progress.fetch_parts(database, "other")[0] == b""


STEPS: dict[str, Callable[[Database, str], object]] = {
    "created": lambda database, id: chord_progress.create(database, id, b"[]"),
    "sized": lambda database, id: chord_progress.set_size(database, id, 7),
    "counted": lambda database, id: chord_progress.record_part(
        database, replace(PART, chord_id=id)
    ),
    "started": chord_progress.mark_started,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_chord_says_when_it_was_changed(database: Database, step: str) -> None:
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    with database.connect() as connection:
        connection.execute(update(chord).values(touched_at=long_ago))
    STEPS[step](database, "g")
    with database.connect() as connection:
        touched_at = connection.execute(select(chord.c.touched_at)).scalar_one()

    assert abs(datetime.now(UTC) - touched_at) < timedelta(minutes=1)


@pytest.mark.parametrize("step", [*STEPS.values(), chord_progress.add_task])
def test_a_step_of_one_chord_leaves_another_alone(
    database: Database, step: Callable[[Database, str], object]
) -> None:
    chord_progress.create(database, "other", None)
    chord_progress.set_size(database, "other", 3)
    chord_progress.record_part(database, replace(PART, chord_id="other"))
    step(database, "g")

    progress = ChordProgress(3, 0, 1, 0, False, "0")
    assert chord_progress.find(database, "other") == progress
    assert chord_progress.fetch_parts(database, "other") == (
        *(None, [replace(PART, chord_id="other")]),
    )
    later = chord_progress.record_part(database, replace(part(1), chord_id="other"))
    assert later == (ChordProgress(3, 0, 2, 0, False, "1"), True)


@pytest.mark.parametrize(
    "change",
    [
        lambda database, id: chord_progress.set_size(database, id, 2),
        lambda database, id: chord_progress.record_part(database, part(1)),
        chord_progress.mark_started,
    ],
    ids=["size", "done", "started"],
)
def test_a_body_can_only_be_claimed_if_its_chord_is_as_it_was_seen(
    database: Database, change: Callable[[Database, str], object]
) -> None:
    chord_progress.set_size(database, "g", 1)
    progress, _ = chord_progress.record_part(database, PART)
    change(database, "g")

    assert not chord_progress.claim_body(database, PART, progress)


def test_a_claim_is_counted_for_its_chord_alone(database: Database) -> None:
    chord_progress.create(database, "other", None)
    for id in ("g", "other"):
        chord_progress.set_size(database, id, 1)
        progress, _ = chord_progress.record_part(database, replace(PART, chord_id=id))
    chord_progress.claim_body(database, part(5), progress)

    claimed = ChordProgress(1, 0, 1, 1, False, "5")
    assert chord_progress.find(database, "g") == claimed
    assert chord_progress.find(database, "other") == progress


def test_the_parts_of_a_chord_that_failed_can_stay(database: Database) -> None:
    chord_progress.set_size(database, "g", 1)
    chord_progress.record_part(database, PART)
    chord_progress.mark_started(database, "g", keep_parts=True)
    progress = chord_progress.find(database, "g")

    assert progress == ChordProgress(1, 0, 1, 0, True, "0")
    assert not progress.is_body_due
    assert chord_progress.fetch_parts(database, "g") == (None, [PART])


def test_a_chord_that_runs_again_begins_without_claims(database: Database) -> None:
    chord_progress.add_task(database, "g")
    chord_progress.set_size(database, "g", 0)
    progress, _ = chord_progress.record_part(database, PART)
    chord_progress.claim_body(database, PART, progress)
    chord_progress.mark_started(database, "g")
    chord_progress.create(database, "g", None)

    assert chord_progress.find(database, "g") == ChordProgress(None, 0, 0, 0, False)


def test_the_parts_of_a_failed_run_are_deleted_for_the_chord_that_runs_again(
    database: Database,
) -> None:
    for id in ("g", "failed", "running"):
        chord_progress.create(database, id, None)
        chord_progress.set_size(database, id, 1)
        chord_progress.record_part(database, replace(PART, chord_id=id))
        if id != "running":
            chord_progress.mark_started(database, id, keep_parts=True)
    for id in ("g", "running"):
        chord_progress.create(database, id, None)

    assert [
        len(chord_progress.fetch_parts(database, id)[1])
        for id in ("g", "failed", "running")
    ] == [0, 1, 1]


def test_on_postgresql_a_part_is_stored_and_counted_by_one_statement() -> None:
    make_dialect: Any = psycopg2.dialect
    [statement] = chord_statements.record_part(make_dialect())
    # The tests with real servers run it.
    part, _, count = " ".join(statement.sql.split()).partition(") INSERT")

    assert part.startswith("WITH part AS (INSERT INTO workertoolbox_chord_part ")
    assert part.endswith(
        "ON CONFLICT DO NOTHING RETURNING workertoolbox_chord_part.task_id"
    )
    assert "(SELECT count(*) AS count_1 FROM part)" in count
    assert "ON CONFLICT (id) DO UPDATE SET" in count
