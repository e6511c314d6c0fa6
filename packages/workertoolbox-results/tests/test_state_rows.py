"""Which of two states, and which of their columns, a result keeps."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import select
from written_states import Row, at, change, row, stored, written

from cadasta.workertoolbox.results._backend.states import write_start, write_state
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results.backend import Backend

#: Columns of a run that an earlier one may have had, and a later one may lack.
OF_RUN: Row = {
    "result": b"1",
    "traceback": "Traceback",
    "children": b"[]",
    "error_group": "1:ab",
    "root_id": "root",
    "group_id": "group",
}


WAYS: list[Row] = [{}, {"is_first": True}, {"is_started": True}]


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("status", ["STARTED", "RETRY", "SUCCESS", "PROGRESS"])
def test_the_first_state_of_a_task_is_stored_with_its_columns(
    backend: Backend, status: str, options: Row
) -> None:
    given = row(status, **OF_RUN, started_at=at(-1), worker="a@host", retries=0)
    found = written(backend, {**given, "parent_id": None}, **options)

    assert {name: found[name] for name in given} == given
    assert found["parent_id"] is None and found["attempts"] is None


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("status", ["PROGRESS", "SUCCESS", "FAILURE"])
def test_a_later_state_of_the_same_run_replaces_the_columns_of_a_state(
    backend: Backend, status: str, options: Row
) -> None:
    run: Row = {"started_at": at(0), "published_at": at(-1), "retries": 0}
    earlier: Row = {**OF_RUN, "error_group": None, "worker": "a@host", "waited_s": 5.0}
    found = written(
        backend,
        row("STARTED", **run, **earlier, name="export.fetch"),
        row(status, 1, **run, worker="b@host", waited_s=9.0),
        **options,
    )

    assert found["status"] == status
    assert found["date_done"] == at(1).replace(tzinfo=None)
    assert [found[name] for name in OF_RUN] == [None] * len(OF_RUN)
    assert (found["name"], found["worker"]) == ("export.fetch", "b@host")
    assert (found["started_at"], found["waited_s"]) == (at(0), 5.0)
    assert found["attempts"] is None


def test_columns_of_the_message_stay_if_a_state_is_stored_without_a_request(
    backend: Backend,
) -> None:
    found = written(
        backend,
        row("STARTED", **OF_RUN, started_at=at(0), retries=0),
        row("REVOKED", 1),
    )

    assert (found["root_id"], found["group_id"]) == ("root", "group")
    assert (found["result"], found["traceback"], found["children"]) == (None,) * 3
    assert found["started_at"] == at(0)


#: Earlier and later states, and whether the earlier one stays.
FINALITY = [
    ("SUCCESS", "SUCCESS", True),
    ("SUCCESS", "FAILURE", True),
    ("SUCCESS", "PROGRESS", True),
    ("FAILURE", "FAILURE", False),
    ("FAILURE", "PROGRESS", True),
    ("REVOKED", "FAILURE", False),
    ("REVOKED", "IGNORED", True),
    ("RETRY", "STARTED", False),
    ("STARTED", "IGNORED", False),
    ("RETRY", "IGNORED", False),
    ("IGNORED", "REJECTED", False),
    ("REJECTED", "IGNORED", False),
    ("LOST", "IGNORED", False),
    ("PROGRESS", "IGNORED", True),
    ("PROGRESS", "REJECTED", True),
    ("FAILURE", "LOST", True),
    ("IGNORED", "STARTED", False),
    ("LOST", "SUCCESS", False),
]


@pytest.mark.parametrize("options", WAYS[::2])
def test_a_state_stays_if_the_later_one_is_less_final(
    backend: Backend, options: Row
) -> None:
    for number, (earlier, later, _) in enumerate(FINALITY):
        run: Row = {"worker": "a@host", "started_at": at(0), "task_id": str(number)}
        write_state(backend.database, row(earlier, **run))
        write_state(backend.database, row(later, -1, **run), **options)
    with backend.database.engine.connect() as connection:
        query = select(taskmeta.c.task_id, taskmeta.c.status)
        found = {int(id): status for id, status in connection.execute(query)}

    assert [
        (earlier, later, found[number])
        for number, (earlier, later, _) in enumerate(FINALITY)
    ] == [
        (earlier, later, earlier if stays else later)
        for earlier, later, stays in FINALITY
    ]


@pytest.mark.parametrize(
    ("status", "retries", "stays"),
    [("STARTED", 0, True), ("STARTED", 1, False), ("IGNORED", 0, True)],
)
def test_a_state_of_an_earlier_attempt_does_not_replace_a_later_one(
    backend: Backend, status: str, retries: int, stays: bool
) -> None:
    given = row(status, 1, retries=retries)
    found = written(backend, row("STARTED", retries=1, worker="a@host"), given)

    assert found["date_done"] == at(0 if stays else 1).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("minute", "retries", "stays"), [(-1, 0, True), (-1, 1, False), (1, 0, False)]
)
def test_the_start_of_an_attempt_does_not_replace_its_retry(
    backend: Backend, minute: int, retries: int, stays: bool
) -> None:
    retry = row("RETRY", started_at=at(-1), retries=0)
    start = row("STARTED", minute, started_at=at(minute), retries=retries)
    write_state(backend.database, retry)
    write_start(backend.database, start)

    assert stored(backend)["status"] == ("RETRY" if stays else "STARTED")


def test_a_state_without_attempts_before_counts_as_the_first(backend: Backend) -> None:
    found = written(backend, row("STARTED"), row("PROGRESS", 1, retries=0))

    assert found["status"] == "PROGRESS"


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("later", ["STARTED", "IGNORED", "SUCCESS"])
def test_every_state_of_a_new_run_replaces_a_forgotten_result(
    backend: Backend, later: str, options: Row
) -> None:
    write_state(backend.database, row("SUCCESS", worker="a@host", started_at=at(-1)))
    change(backend, forgotten=True)
    late = written(backend, row(later, -1, worker="a@host", started_at=at(-1)))
    change(backend, forgotten=True, status="SUCCESS", date_done=at(0))
    found = written(
        backend, row(later, 1, worker="a@host", started_at=at(1)), **options
    )

    assert late["status"] == "SUCCESS"
    assert found["status"] == later
    assert found["date_done"] == at(1).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("unlike", "minute", "stays"),
    [
        ({}, 1, False),
        ({}, -1, True),
        ({}, 0, True),
        ({"worker": "a@host"}, 1, True),
        ({"started_at": at(0)}, 1, True),
        ({"status": "FAILURE"}, 1, True),
    ],
)
def test_a_run_replaces_a_revocation_from_before_a_worker_had_the_task(
    backend: Backend, unlike: Row, minute: float, stays: bool
) -> None:
    revoked: Row = {**row("REVOKED"), **unlike}
    found = written(backend, revoked, row("STARTED", minute, started_at=at(minute)))

    assert found["status"] == (revoked["status"] if stays else "STARTED")


@pytest.mark.parametrize("status", ["STARTED", "PROGRESS"])
def test_a_step_that_was_stored_as_not_run_is_replaced_by_its_run(
    backend: Backend, status: str
) -> None:
    unrun = row("FAILURE", not_run="not run: a[1] failed", worker="a@host")
    found = written(backend, unrun, row(status, -1, retries=0))

    assert (found["status"], found["not_run"]) == (status, None)


@pytest.mark.parametrize(
    ("first", "published", "stays"),
    [
        (at(-2), at(1), False),
        (at(-2), at(-2), True),
        (at(-2), at(-0.5), True),
        (at(-2), at(0), True),  # It was published when the run ended, not after it.
        (at(1), at(1), True),  # The clock of the service is ahead.
    ],
)
def test_a_task_that_is_published_again_after_its_end_is_a_new_run(
    backend: Backend, first: datetime, published: datetime, stays: bool
) -> None:
    run: Row = {
        "started_at": at(-1),
        "published_at": first,
        "worker": "a@host",
    }
    again: Row = {**run, "started_at": at(2), "published_at": published}
    found = written(backend, row("SUCCESS", **run), row("STARTED", 3, **again))

    assert found["status"] == ("SUCCESS" if stays else "STARTED")


@pytest.mark.parametrize(
    ("keeps_start", "published", "start", "waited_s"),
    [
        (False, at(-2), at(1), 5.0),
        (True, at(-2), at(0), 5.0),
        (False, at(-1), at(1), 9.0),
        (True, at(-1), at(1), 9.0),
        (False, None, at(1), 9.0),
        (True, None, at(0), 9.0),
    ],
)
def test_an_attempt_has_waited_until_its_first_start(
    backend: Backend,
    keeps_start: bool,
    published: datetime | None,
    start: datetime,
    waited_s: float,
) -> None:
    run: Row = {"started_at": at(0), "published_at": at(-2), "waited_s": 5.0}
    again: Row = {
        "started_at": at(1),
        "published_at": published,
        "waited_s": 9.0,
    }
    found = written(
        backend,
        row("STARTED", **run),
        row("STARTED", 2, **again),
        **({"keeps_start": True} if keeps_start else {}),
    )

    assert (found["started_at"], found["waited_s"]) == (start, waited_s)


def test_the_start_of_another_run_is_stored_if_none_is_known(backend: Backend) -> None:
    start = row("STARTED", 1, started_at=at(1))
    found = written(backend, row("PROGRESS"), start, keeps_start=True)

    assert found["started_at"] == at(1)


def test_a_state_that_does_not_know_the_start_keeps_that_of_its_attempt(
    backend: Backend,
) -> None:
    run: Row = {"started_at": at(0), "published_at": at(-2), "waited_s": 5.0}
    same = written(backend, row("STARTED", **run), row("RETRY", 1, published_at=at(-2)))
    other = written(backend, row("STARTED", 2, published_at=at(1), retries=1))

    assert (same["started_at"], same["waited_s"]) == (at(0), 5.0)
    assert (other["started_at"], other["waited_s"]) == (None, None)


def test_a_run_that_ends_after_the_success_is_kept_as_an_attempt(
    backend: Backend,
) -> None:
    first: Row = {"started_at": at(0), "worker": "a@host", "retries": 0}
    second: Row = {"started_at": at(1), "worker": "b@host", "retries": 0}
    late = row("FAILURE", 3, **second)
    found = written(backend, row("SUCCESS", 2, **first), late, late)
    [attempt] = found["attempts"]

    assert (found["status"], found["worker"]) == ("SUCCESS", "a@host")
    assert (attempt["outcome"], attempt["worker"]) == ("DUPLICATE", "b@host")


def test_a_start_after_the_success_is_not_an_attempt_yet(backend: Backend) -> None:
    first: Row = {"started_at": at(0), "worker": "a@host", "retries": 0}
    second: Row = {"started_at": at(1), "worker": "b@host", "retries": 0}
    found = written(backend, row("SUCCESS", 2, **first), row("STARTED", 3, **second))

    assert (found["status"], found["attempts"]) == ("SUCCESS", None)


def test_a_retry_that_is_stored_after_the_next_attempt_is_kept_as_an_attempt(
    backend: Backend,
) -> None:
    first: Row = {"started_at": at(0), "worker": "a@host", "retries": 0}
    later: Row = {"started_at": at(2), "worker": "b@host", "retries": 1}
    retry = row("RETRY", 1, **first)
    found = written(backend, row("STARTED", 2, **later), retry, retry)
    [attempt] = found["attempts"]

    assert (found["status"], found["retries"]) == ("STARTED", 1)
    assert (attempt["outcome"], attempt["retries"]) == ("RETRY", 0)
    assert attempt["worker"] == "a@host"


def test_a_start_that_is_stored_after_the_next_attempt_is_not_an_attempt(
    backend: Backend,
) -> None:
    first: Row = {"started_at": at(0), "worker": "a@host", "retries": 0}
    later: Row = {"started_at": at(2), "worker": "b@host", "retries": 1}
    found = written(backend, row("STARTED", 2, **later), row("STARTED", **first))

    assert (found["started_at"], found["attempts"]) == (at(2), None)


@pytest.mark.parametrize("status", ["STARTED", "IGNORED", "SUCCESS"])
def test_a_row_without_a_state_gets_every_state(backend: Backend, status: str) -> None:
    write_state(backend.database, row("STARTED", started_at=at(1), retries=1))
    change(backend, status=None)
    found = written(backend, row(status, started_at=at(0), retries=0))

    assert (found["status"], found["started_at"]) == (status, at(0))


def test_the_same_end_again_is_not_a_duplicate(backend: Backend) -> None:
    run: Row = {"started_at": at(0), "worker": "a@host", "retries": 0}
    found = written(backend, row("SUCCESS", 2, **run), row("SUCCESS", 3, **run))

    assert found["attempts"] is None


def test_a_state_belongs_to_its_task_alone(backend: Backend) -> None:
    for id, start in (("1", at(0)), ("2", at(0)), ("3", at(1))):
        write_start(
            backend.database, {**row("STARTED", started_at=start), "task_id": id}
        )
    end = row("SUCCESS", 1, started_at=at(0))
    write_state(backend.database, {**end, "task_id": "4"})
    write_state(backend.database, end, is_started=True)
    late = row("FAILURE", 3, started_at=at(2), worker="b@host")
    write_state(backend.database, {**late, "task_id": "1"})
    with backend.database.engine.connect() as connection:
        query = select(taskmeta.c.task_id, taskmeta.c.status, taskmeta.c.attempts)
        found = {
            id: (status, attempts) for id, status, attempts in connection.execute(query)
        }

    assert found["2"] == found["3"] == ("STARTED", None)
    assert found["4"] == ("SUCCESS", None)
    assert found["1"][0] == "SUCCESS" and len(found["1"][1]) == 1
