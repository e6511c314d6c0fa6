"""`TaskStore.why` with real brokers, workers and monitors: each test is a cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord, states
from celery.app.task import Context
from kombu import Producer
from sqlalchemy import Engine, text

from cadasta.workertoolbox.results import Cause, Reason, database_url, open_engine
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._history import horizon
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from cadasta.workertoolbox.results._store.why import planned as why_planned
from cadasta.workertoolbox.results._store.why import running as why_running
from cadasta.workertoolbox.results._store.why import unseen as why_unseen
from cadasta.workertoolbox.results._store.why import waiting as why_waiting
from support.chord_harness import ACCIDENT_QUEUE, TIMEOUT_S
from support.chord_service import set_flag
from support.polling import wait_until
from support.processes import Process
from support.workflow_service import WorkflowService, run_workflow_service

#: Archives and closes at once, but does not count a task as lost as soon as it runs.
AT_ONCE = ArchiveOptions(delay_s=0, expired_after_s=0)


@pytest.fixture(scope="module", params=["rabbitmq", "redis"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkflowService]:
    with run_workflow_service(request, tmp_path_factory.mktemp("why")) as service:
        yield service


@pytest.fixture(scope="module")
def engine(service: WorkflowService) -> Iterator[Engine]:
    engine = open_engine(database_url(service.app.conf.result_backend))
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def no_leftovers(service: WorkflowService, engine: Engine) -> Iterator[None]:
    """Remove the tasks of the queue without a worker, also those of a failed test."""
    yield
    service.app.control.purge()
    for table in (task, taskmeta):
        # Each in its own transaction, because the archiver locks rows of both.
        with engine.begin() as connection:
            connection.execute(table.delete().where(table.c.queue == ACCIDENT_QUEUE))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a task slow, and a queue abandoned, without waiting for a minute."""
    lose_patience(monkeypatch)


def lose_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (why_planned, why_running, why_waiting):
        monkeypatch.setattr(module, "PATIENCE_S", 0.0)


def archive(engine: Engine, options: ArchiveOptions = AT_ONCE) -> None:
    Archiving(engine, options, should_stop=lambda: False).run_once()


def explained(
    service: WorkflowService,
    id: str,
    cause: Cause,
    words: str = "",
    *,
    before: Callable[[], None] = lambda: None,
) -> Reason:
    """Wait until a task has a cause and a sentence with words; return the reason.

    Args:
        before: Called before each look. Archiving belongs here, because it does nothing
            while the monitor archives.
    """

    def check() -> Reason:
        before()
        reason = service.store.why(id)
        assert reason.cause == cause, reason.sentence
        assert words in reason.sentence
        return reason

    return wait_until(check, timeout_s=TIMEOUT_S)


def accident(service: WorkflowService, name: str, *args: object) -> Any:
    """Return the signature of a task in the queue that has no worker of its own."""
    signature = service.signature(name, *args).set(queue=ACCIDENT_QUEUE)
    signature.freeze()
    return signature


def seen(service: WorkflowService, signature: Any, **options: Any) -> str:
    """Publish a task, and wait until a monitor has seen it."""
    id: str = signature.apply_async(**options).id
    wait_until(lambda: service.store.find(id), timeout_s=TIMEOUT_S)
    return id


def put(
    service: WorkflowService, queue: str, body: Any, headers: Any, **options: Any
) -> None:
    """Put a message into one queue, without a copy, as another program does."""
    with service.app.connection_for_write() as connection:
        producer = Producer(connection.default_channel, auto_declare=False)
        producer.publish(
            *(body,), exchange="", routing_key=queue, headers=headers, **options
        )


def headers(id: str, **others: Any) -> dict[str, Any]:
    return {"id": id, "task": "export.echo", "root_id": id, "retries": 0, **others}


# Ends


def fail_step(service: WorkflowService) -> str:
    steps: Any = chain(service.signature("fail", "no map"), service.signature("add"))
    id: str = steps().id
    return id


def exceed_time_limit(service: WorkflowService) -> str:
    hang = service.signature("echo_after_flag", 1, "never")
    id: str = hang.apply_async(time_limit=1).id
    return id


def terminate(service: WorkflowService) -> str:
    id: str = service.signature("echo_after_flag", 1, "never").delay().id
    explained(service, id, Cause.RUNNING)
    service.app.control.revoke(id, terminate=True)
    return id


def revoke(service: WorkflowService) -> str:
    id = seen(service, accident(service, "echo", 1))
    service.app.control.revoke(id)
    return id


def expire(service: WorkflowService) -> str:
    expires = datetime.now(UTC) + timedelta(seconds=0.5)
    id: str = accident(service, "echo", 1).apply_async(expires=expires).id
    return id


def purge(service: WorkflowService) -> str:
    id: str = accident(service, "echo", 1).apply_async().id
    service.app.control.purge()
    return id


def send_unknown_name(service: WorkflowService) -> str:
    return service.app.send_task("export.typo", queue="export").id


def send_invalid_message(service: WorkflowService) -> str:
    id = uuid4().hex
    put(service, "export", [[1], {}, {}], headers(id, stamped_headers=1))
    return id


def name_of(task: str, *args: object) -> Callable[[WorkflowService], str]:
    """Return a function that publishes a task of the service."""
    return lambda service: service.signature(task, *args).delay().id


#: How each end is brought about, and a part of its sentence.
ENDS: dict[Cause, tuple[Callable[[WorkflowService], str], str]] = {
    Cause.SUCCEEDED: (name_of("echo", 1), " succeeded at "),
    Cause.FAILED: (name_of("fail", "no map"), " with ValueError: no map"),
    Cause.IGNORED: (name_of("ignore", "not needed"), "Ignore at "),
    Cause.REJECTED: (name_of("reject", "not here"), ": "),
    Cause.WORKER_LOST: (name_of("die"), "WorkerLostError"),
    Cause.TIME_LIMIT: (exceed_time_limit, "TimeLimitExceeded: 1"),
    Cause.NOT_RUN: (fail_step, "was never published, because export.fail["),
    Cause.NOT_REGISTERED: (send_unknown_name, ", which has no task called 'export."),
    Cause.INVALID_MESSAGE: (send_invalid_message, "was discarded at "),
    Cause.REVOKED: (revoke, "was revoked at "),
    Cause.TERMINATED: (terminate, "while it ran on "),
    Cause.EXPIRED: (expire, ", before a worker started it; it was published at "),
    Cause.PURGED: (purge, f"was purged from queue {ACCIDENT_QUEUE} at "),
}


@pytest.mark.parametrize("cause", ENDS)
def test_the_end_of_a_task_is_explained(service: WorkflowService, cause: Cause) -> None:
    bring_about, words = ENDS[cause]
    # A step that a failure leaves behind is closed a little later.
    reason = explained(service, bring_about(service), cause, words)

    assert reason.is_trouble == (cause not in (Cause.SUCCEEDED, Cause.IGNORED))
    if cause == Cause.NOT_RUN:
        assert reason.because is not None and reason.because.cause == Cause.FAILED
    if cause == Cause.NOT_REGISTERED:
        assert reason.evidence["worker"].startswith("0@")  # That of the service.


def test_an_archived_failure_has_the_figures_of_its_group(
    service: WorkflowService, engine: Engine
) -> None:
    id = service.signature("fail", "no group").delay().id
    explained(service, id, Cause.FAILED)
    reason = explained(
        service, id, Cause.FAILED, "(error group", before=lambda: archive(engine)
    )

    assert f"(error group {reason.evidence['error_group']}: " in reason.sentence
    assert reason.evidence["group_count"] >= 1


def test_an_untracked_task_is_called_so(service: WorkflowService) -> None:
    id = uuid4().hex
    put(service, "export", [[1], {}, {}], headers(id))
    reason = explained(service, id, Cause.SUCCEEDED)

    assert reason.sentence.endswith("; no monitor has seen its message.")
    assert reason.evidence["tracked"] is False


# Waiting and running


def test_a_task_waits_for_its_eta_or_its_retry(service: WorkflowService) -> None:
    eta = service.signature("echo", 1).apply_async(countdown=3600).id
    retried = service.signature("retry_after_flag", "retry").delay().id
    set_flag("retry")
    waiting = explained(service, eta, Cause.ETA)
    retry = explained(service, retried, Cause.RETRY)
    service.app.control.revoke([eta, retried])

    assert "is not due before its ETA at " in waiting.sentence
    assert "; attempt 1 ended at " in retry.sentence
    assert retry.sentence.endswith(" after OSError: full.")
    assert not waiting.is_trouble and not retry.is_trouble


def test_a_queue_without_a_worker_is_named_once_a_task_has_waited(
    service: WorkflowService, request: pytest.FixtureRequest
) -> None:
    id = seen(service, accident(service, "echo", 1))
    explained(service, id, Cause.WAITING)
    request.getfixturevalue("impatient")
    reason = explained(service, id, Cause.NO_CONSUMER)

    assert f"no worker seems to consume queue {ACCIDENT_QUEUE}: " in reason.sentence
    assert reason.is_trouble


def test_busy_lost_and_overtaken_tasks_are_told_apart(
    service: WorkflowService,
    engine: Engine,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_flag("set")
    for signature in ("echo", 1), ("echo_after_flag", 1, "set"):
        id = service.signature(*signature).delay().id
        explained(service, id, Cause.SUCCEEDED)
    overtaken = seen(service, accident(service, "echo", 1))
    remove_message(service)
    with service.chords.worker("-c", "1", queues=ACCIDENT_QUEUE) as worker:
        first = accident(service, "echo_after_flag", 1, "never").apply_async().id
        # Once they are archived, it is known how long tasks of this name take.
        running = explained(
            service, first, Cause.RUNNING_LONG, before=lambda: archive(engine)
        )
        removed = explained(service, overtaken, Cause.OVERTAKEN)
        busy = explained(
            service, seen(service, accident(service, "add", 1)), Cause.BUSY
        )
        slow = explained(
            service, seen(service, accident(service, "echo", 1)), Cause.WAITING_LONG
        )
        worker.kill()
    monkeypatch.setattr(why_running, "SILENCE_S", 0.0)
    silent = explained(service, first, Cause.WORKER_SILENT)
    options = ArchiveOptions(delay_s=0, lost_after_s=0, silent_s=0)
    lost = explained(
        service, first, Cause.LOST, before=lambda: archive(engine, options)
    )

    assert "99 in 100 tasks of its name take up to " in running.sentence
    assert "although 1 later task has started" in removed.sentence
    for reason in (busy, slow):
        assert reason.because is not None and reason.because.id == first
        assert f"export.echo_after_flag[{first}], which has been" in reason.sentence
    assert "has stored nothing since then" in silent.sentence
    assert " started it at " in lost.sentence and " gave" not in lost.sentence


def remove_message(service: WorkflowService) -> None:
    """Remove the message of a queue, as another program does."""
    queue = service.app.amqp.queues[ACCIDENT_QUEUE]
    with service.app.connection_for_read() as connection:
        assert queue(connection.default_channel).get(no_ack=True)


def test_a_task_that_is_delivered_again_says_how_often(
    service: WorkflowService,
) -> None:
    keys = (f"die {uuid4()}", f"end {uuid4()}")
    id = service.signature("die_after_flag", *keys).delay().id

    def has_run() -> bool:
        # Two starts within a moment count as one.
        return bool(explained(service, id, Cause.RUNNING).evidence["running_s"] > 0.5)

    wait_until(has_run, timeout_s=TIMEOUT_S)
    set_flag(keys[0])
    reason = explained(service, id, Cause.REDELIVERED)
    set_flag(keys[1])
    explained(service, id, Cause.SUCCEEDED)

    assert "has been delivered 2 times, because 1 run on " in reason.sentence
    assert reason.evidence["deliveries"] == 2


# Workflows


def test_a_step_waits_for_the_step_that_holds_it_up(service: WorkflowService) -> None:
    key = f"chain {uuid4()}"
    first = service.signature("echo_after_flag", 1, key)
    add = service.signature("add")
    last: Any = chain(first, add, add)()
    reason = explained(service, last.id, Cause.STEP)
    set_flag(key)
    explained(service, last.id, Cause.SUCCEEDED)

    assert "waits for step 1 of 3, export.echo_after_flag[" in reason.sentence
    assert reason.because is not None
    assert reason.because.id == last.parent.parent.id


def test_the_body_of_a_chord_waits_for_what_its_header_lacks(
    service: WorkflowService,
) -> None:
    key = f"chord {uuid4()}"
    echo, wait = service.signature("echo", 1), ("echo_after_flag", 2, key)
    body: Any = chord([echo, service.signature(*wait)])(service.signature("collect"))

    def lacks_one() -> Reason:
        reason = explained(service, body.id, Cause.CHORD)
        assert reason.evidence["chord_lacking"] == 1, reason.sentence
        assert reason.because is not None and reason.because.cause == Cause.RUNNING
        return reason

    reason = wait_until(lacks_one, timeout_s=TIMEOUT_S)
    set_flag(key)
    explained(service, body.id, Cause.SUCCEEDED)

    assert ", in which 1 of 2 tasks have succeeded: it lacks export.echo_after" in (
        reason.sentence
    )


def test_each_step_of_a_body_that_is_a_chain_waits_for_the_header(
    service: WorkflowService,
) -> None:
    key = f"chord {uuid4()}"
    echo, wait = service.signature("echo", 1), ("echo_after_flag", 2, key)
    ids = [str(uuid4()) for _ in range(3)]
    steps = [service.signature(name) for name in ("collect", "echo", "echo")]
    named = [each.set(task_id=id) for each, id in zip(steps, ids, strict=True)]
    body: Any = chain(*named)
    chord([echo, service.signature(*wait)])(body)

    def all_wait() -> list[Reason]:
        reasons = [explained(service, id, Cause.CHORD) for id in ids]
        for each in reasons:
            assert each.evidence["chord_lacking"] == 1, each.sentence
            assert each.because is not None and each.because.cause == Cause.RUNNING
        return reasons

    reasons = wait_until(all_wait, timeout_s=TIMEOUT_S)
    set_flag(key)
    explained(service, ids[-1], Cause.SUCCEEDED)

    known = ("chord_size", "step", "steps")
    evidences = [[each.evidence[name] for name in known] for each in reasons]
    assert evidences == [[2, 1, 4]] * 3


def test_a_chord_lacks_a_task_whose_success_was_not_counted(
    service: WorkflowService,
) -> None:
    header = [accident(service, "echo", number) for number in range(2)]
    body: Any = chord(header)(service.signature("collect"))
    backend: Any = service.app.backend
    for each in header:
        request = Context(id=each.id, task="export.echo", root_id=each.id)
        backend.store_result(each.id, 1, states.SUCCESS, request=request)
    reason = explained(service, body.id, Cause.CHORD_UNCOUNTED)

    assert sorted(each.id for each in header) == reason.evidence["chord_uncounted"]


def test_a_step_after_an_erased_task_is_without_explanation(
    service: WorkflowService,
) -> None:
    first = accident(service, "echo", 1)
    last: Any = chain(first, service.signature("add"))()
    wait_until(lambda: service.store.find(last.id), timeout_s=TIMEOUT_S)
    service.command("purge", "--task-id", first.id)
    explained(service, last.id, Cause.STEP_UNKNOWN)


# Messages that no monitor has seen


#: Transactions of other sessions.
OPEN_TRANSACTIONS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
AND state IN ('active', 'idle in transaction') AND pid <> pg_backend_pid()
"""


@contextmanager
def paused(process: Process, engine: Engine) -> Iterator[None]:
    """Suspend a monitor between two transactions, so that it keeps no locks."""

    def pause() -> bool:
        process.pause()
        with engine.connect() as connection:
            if connection.scalar(text(OPEN_TRANSACTIONS)) == 0:
                return True
        process.resume()
        return False

    try:
        wait_until(pause)
        yield
    finally:
        process.resume()


def test_messages_that_no_monitor_has_seen_are_missed(
    service: WorkflowService, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained(service, "nothing", Cause.UNKNOWN)  # The monitors are not behind.
    key = f"unseen {uuid4()}"
    retried = seen(service, service.signature("retry_after_flag", key))
    first = service.signature("echo_after_flag", 1, key)
    last: Any = chain(first, accident(service, "add"))()
    explained(service, last.id, Cause.STEP)
    wait_until(lambda: service.store.get(retried).status == "STARTED")
    with paused(service.monitor, engine), monkeypatch.context() as patch:
        lose_patience(patch)
        set_flag(key)
        for behind_s, causes in (
            (0.0, (Cause.MONITOR_BEHIND,) * 2),
            (3600.0, (Cause.STEP_UNSEEN, Cause.RETRY_UNSEEN)),
        ):
            patch.setattr(why_unseen, "BEHIND_S", behind_s)
            reasons = [
                explained(service, id, cause)
                for id, cause in zip((last.id, retried), causes, strict=True)
            ]
        unseen = accident(service, "echo", 1).apply_async().id
        patch.setattr(why_unseen, "BEHIND_S", 0.0)
        behind = explained(service, unseen, Cause.MONITOR_BEHIND)
        patch.setattr(horizon, "RUNNING_FOR", timedelta(0))
        stopped = explained(service, unseen, Cause.NO_MONITOR)
    service.app.control.revoke(retried)
    explained(service, unseen, Cause.WAITING)

    assert "the message of the next step has not been seen" in reasons[0].sentence
    assert "the message of the retry has not been seen" in reasons[1].sentence
    assert "they have read the messages published until " in behind.sentence
    assert "no monitor is running: the last report was at " in stopped.sentence


def test_an_unknown_id_and_one_in_quarantine_are_told_apart(
    service: WorkflowService,
) -> None:
    id = uuid4().hex
    text = {"content_type": "text/plain", "content_encoding": "utf-8"}
    put(service, "platform.fifo", "no task", headers(id), **text)
    quarantined = explained(service, id, Cause.QUARANTINED)
    unknown = explained(service, "nothing", Cause.UNKNOWN)

    assert "has a message in quarantine, which a monitor could not read" in (
        quarantined.sentence
    )
    assert "no monitor and no worker has seen it" in unknown.sentence
