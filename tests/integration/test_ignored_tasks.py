"""Tasks that raise `Ignore` or `Reject` are shown as ended, unless they go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TimeoutError
from sqlalchemy import select

from cadasta.workertoolbox.results import Task, TaskStore
from cadasta.workertoolbox.results._database.tables import rollup
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from servers.access import BrokerAccess
from support.brokers import result_backend_url
from support.polling import wait_until
from support.worker_fleet import TIMEOUT_S, WorkerFleet, open_fleet

#: The state of a task after each way to raise `Ignore` or `Reject`, and its result.
ENDS: dict[str, tuple[str, Any]] = {
    "ignore": ("IGNORED", "not needed"),
    "requeue": ("REJECTED", "not here"),
    "state": ("SKIPPED", "done before"),
    "success": ("SUCCESS", 7),
    "failure": ("FAILURE", {"exc_type": "KeyError"}),
    "reject": (
        "FAILURE",
        {
            "exc_type": "Reject",
            "exc_message": ["not here", False],
            "exc_module": "celery.exceptions",
        },
    ),
}

#: Ways to raise `Ignore` in a task that goes on under its id, with its result.
CONTINUATIONS = {
    "task": "again",
    "chain": "again",
    "chord": "again",
    "group": ["again", 2],
    "retry": "again",
    "publish": "again",
}


@pytest.fixture(params=["prefork", "threads", "solo"])
def fleet(
    request: pytest.FixtureRequest,
    access: BrokerAccess,
    database: str,
    tmp_path: Path,
) -> Iterator[WorkerFleet]:
    """Yield a fleet with one worker, which has run a task."""
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        stack.enter_context(
            fleet.worker("-Q", "export,celery", "-P", request.param, "-c", "1")
        )
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)
        yield fleet


@pytest.fixture
def store(database: str) -> Iterator[TaskStore]:
    with TaskStore(result_backend_url(database)) as store:
        yield store


def end_of(store: TaskStore, id: str) -> Task:
    """Wait for the state that a task has when its worker has gone on to others."""

    def look() -> Task | None:
        task = store.find(id)
        return task if task and task.status != "STARTED" else None

    task = wait_until(look, timeout_s=TIMEOUT_S)
    assert task is not None
    return task


@pytest.mark.parametrize("name", ["export.end", "export.end_ignored"])
def test_ignored_and_rejected_tasks_are_shown_as_ended(
    fleet: WorkerFleet,
    store: TaskStore,
    name: str,
    request: pytest.FixtureRequest,
) -> None:
    sent = {how: fleet.app.send_task(name, [how]) for how in ENDS}
    ends = {how: end_of(store, sent[how].id) for how in ENDS}
    # The main process of a prefork pool gets the error without its traceback.
    is_prefork = request.node.callspec.params["fleet"] == "prefork"
    place = {} if is_prefork else {"exc_place": "result_service.end"}

    for how, (status, result) in ENDS.items():
        found = ends[how]
        assert found.status == status, how
        expected = {**result, **place} if how == "reject" else result
        assert found.result == expected, how
        assert found.started_at is not None, how
        assert how == "state" or found.finished_at is not None, how
    assert not {each.id for each in store.stuck(timedelta(0))} & {
        sent[how].id for how in ENDS if how != "state"
    }


def test_a_task_that_goes_on_under_its_id_is_not_shown_as_ended(
    fleet: WorkerFleet, store: TaskStore
) -> None:
    sent = {how: fleet.app.send_task("export.end", [how]) for how in CONTINUATIONS}
    # The worker has run all of them when it has run this one, and none has gone on.
    fleet.publish(1)[0].get(timeout=TIMEOUT_S)
    statuses = {how: store.get(each.id).status for how, each in sent.items()}
    results = {how: each.get(timeout=TIMEOUT_S) for how, each in sent.items()}

    # The start of a quick task may not be stored; then it waits for its next run.
    assert set(statuses.values()) <= {"QUEUED", "STARTED", "SUCCESS"}, statuses
    assert results == CONTINUATIONS


def messages_of(fleet: WorkerFleet, id: str) -> Sequence[TaskRecord]:
    """Take the copies of a task's messages out of the monitor queue, in their order."""
    with fleet.app.connection_for_read() as connection:
        queue = fleet.app.amqp.queues["platform.fifo"](connection.default_channel)
        seen_at = datetime.now(UTC)
        found = [read_task(each, seen_at=seen_at) for each in iter(queue.get, None)]
    return [each for each in found if each.id == id]


@pytest.mark.parametrize("late", ["original", "replacement"])
def test_a_task_that_replaces_itself_is_one_task_whichever_copy_is_late(
    fleet: WorkerFleet, store: TaskStore, late: str, tmp_path: Path
) -> None:
    path = tmp_path / "go on"
    sent: Any = fleet.app.send_task("export.hand_on", [str(path)])
    wait_until(lambda: sent.state == "STARTED", timeout_s=TIMEOUT_S)
    path.touch()
    assert sent.get(timeout=TIMEOUT_S) == 42
    original, replacement = messages_of(fleet, sent.id)
    copies = [replacement, original] if late == "original" else [original, replacement]
    for copy in copies:
        with store.engine.begin() as connection:
            write_batch(connection, [copy])
        with store.engine.begin() as connection:
            archive_batch(connection, ArchiveOptions(delay_s=0))
        shown = store.get(sent.id)
        outcomes = [each.outcome for each in store.attempts(sent.id)]

        assert (shown.status, shown.result) == ("SUCCESS", 42)
        assert shown.name == "export.echo"
        assert outcomes == ["REPLACED", "SUCCESS"]
    [task] = [each for each in store.list() if each.id == sent.id]
    with store.engine.connect() as connection:
        query = select(rollup.c["count"], rollup.c.redeliveries)
        of_task = query.where(rollup.c.name == "export.echo", rollup.c.tier == "day")
        figures = connection.execute(of_task).one()

    assert task.scheduled_at == original.published_at
    assert figures.redeliveries == 0


def test_get_waits_for_an_ignored_task_as_celery_does(fleet: WorkerFleet) -> None:
    sent: Any = fleet.app.send_task("export.end", ["ignore"])
    wait_until(lambda: sent.state == "IGNORED", timeout_s=TIMEOUT_S)

    assert not sent.ready()
    with pytest.raises(TimeoutError):
        sent.get(timeout=0.5)
    sent.backend.store_result(sent.id, "from outside", "SUCCESS")
    assert sent.get(timeout=TIMEOUT_S) == "from outside"
