"""Tasks that are published again, with real brokers, workers and monitors."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, chain, chord

from cadasta.workertoolbox.results import OperationTask, TaskStore, upgrade
from cadasta.workertoolbox.results._reruns.publishing import CLOCK_SKEW, LEASE
from support.brokers import Broker
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, Process, running
from support.rerun_service import FOLDER, KILL, make_app
from support.task_commands import call_tasks_command

#: Arguments that JSON has no types for.
TYPED = (datetime(2026, 6, 1, tzinfo=UTC), UUID(int=7), Decimal("1.50"), b"\xff")

#: Number of tasks that are run again.
COUNT = 8


@dataclass(frozen=True)
class Service:
    """The service `rerun_service`, with a worker and a monitor.

    Attributes:
        environment: The variables of its processes.
        folder: See `rerun_service.FOLDER`.
    """

    app: Celery
    store: TaskStore
    environment: Mapping[str, str]
    folder: Path

    def command(self, *words: str, **variables: str) -> AbstractContextManager[Process]:
        """Run a command of Celery until the block ends."""
        celery = [sys.executable, "-m", "celery", "-A", "rerun_service"]
        return running(
            [*celery, "--workdir", SERVICE_FOLDER, *words],
            folder=self.folder,
            environment={**self.environment, **variables},
            name="-".join(words[:2]),
        )

    def rerun(self, *words: str, kill: str | None = None) -> tuple[int, str]:
        """Run `tasks rerun` to its end; return its exit code and its output."""
        variables = {KILL: kill} if kill else {}
        with self.command("tasks", "rerun", *words, **variables) as process:
            return process.wait(), process.text

    def runs(self, name: str = "export.check") -> list[str]:
        """Return the lines of the runs that succeeded, in order of their arguments."""
        lines = self.folder.joinpath(name).read_text("utf-8").splitlines()
        return sorted(lines, key=lambda line: line.partition(" ")[2])


@pytest.fixture
def service(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    environment = {**broker.environment, FOLDER: str(tmp_path)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    app = make_app()
    upgrade(app.conf.result_backend)
    with ExitStack() as stack:
        store = stack.enter_context(TaskStore.for_app(app))
        service = Service(app, store, environment, tmp_path)
        stack.enter_context(service.command("tasks", "monitor"))
        options = ("-P", "solo", "-Q", "export", "--without-gossip")
        stack.enter_context(service.command("worker", *options))
        yield service
        app.close()


def in_doubt(service: Service) -> OperationTask:
    """Return the only task in doubt."""
    [operation] = service.store.operations()
    [found] = service.store.operation_tasks(operation.id, states={"publishing"})
    return found


def is_read(service: Service, entry: OperationTask) -> bool:
    """Return whether the monitor has read the messages of the time of an entry."""
    read_until = service.store.read_until()
    return bool(read_until and read_until > entry.changed_at + CLOCK_SKEW)


def test_each_task_runs_once_more_although_the_command_is_killed_and_interrupted(
    service: Service, broker: Broker
) -> None:
    store = service.store
    ids = [
        service.app.send_task("export.check", [number, *TYPED]).id
        for number in range(COUNT)
    ]
    secret = service.app.send_task("export.check", kwargs={"token": "t"}).id
    step = service.app.tasks["export.step"].si
    body = chord([step(1), step(2)], step(3))
    root: Any = chain(step(0), body)()
    while root.parent is not None:
        root = root.parent
    query = ("--query", "name:export.check status:failure")
    wait_until(lambda: len(store.search(query[1]).tasks) == COUNT + 1)
    wait_until(
        lambda: store.search(f"root:{root.id} name:export.step status:failure").tasks
    )
    service.folder.joinpath("repaired").touch()

    # Killed after it has published the third task, and before it notes that.
    options = (*query, "--yes", "--rate", "50/s", "--reason", "the server was down")
    killed = [service.rerun(*options, kill="after:3")]
    [operation] = store.operations()
    third = in_doubt(service)
    wait_until(lambda: store.find(third.new_id))
    resume: tuple[str, ...] = ("--resume", operation.id, "--yes")
    if broker.name == "rabbitmq":
        # Killed before it publishes the fifth task: a monitor has to show that.
        killed.append(service.rerun(*resume, kill="before:2"))
        fifth = in_doubt(service)
        wait_until(lambda: is_read(service, fifth))
        wait_until(lambda: datetime.now(UTC) > fifth.changed_at + LEASE + CLOCK_SKEW)
        resume = (*resume, "--doubtful")
    before = store.operation(operation.id)
    with service.command("tasks", "rerun", *resume, "--rate", "1/s") as process:
        wait_until(lambda: store.operation(operation.id).published > before.published)
        interrupted = process.stop(signal.SIGINT)
    left = store.operation(operation.id).waiting
    last = service.rerun(*resume, "--rate", "4/s", "--json")
    wait_until(lambda: len(service.runs()) == COUNT)

    assert {code for code, _ in killed} == {-signal.SIGKILL}
    assert interrupted == 1 and left > 2
    assert "continue with `tasks rerun --resume" in process.text
    assert last[0] == 1  # Because one is refused.
    lines = [json.loads(line) for line in last[1].splitlines() if line[0] == "{"]
    instants = [datetime.fromisoformat(line["changed_at"]) for line in lines]
    assert len(instants) == left
    # The connection to the broker delays the first one.
    wanted = timedelta(seconds=(left - 2) / 4)
    assert instants[-1] - instants[1] > wanted - timedelta(seconds=0.15)
    entries = store.operation_tasks(operation.id, states={"published"})
    new_ids = {each.task_id: each.new_id for each in entries}
    assert service.runs() == [
        f"{new_ids[id]} {(number, *TYPED)!r}" for number, id in enumerate(ids)
    ]
    [refused] = store.operation_tasks(operation.id, states={"refused"})
    assert refused.task_id == secret
    assert refused.note == "its stored arguments were redacted"
    finished = store.operation(operation.id)
    assert (finished.published, finished.doubtful, finished.waiting) == (COUNT, 0, 0)
    assert finished.finished_at and finished.reason == "the server was down"
    check_links(service, ids[0], new_ids[ids[0]])
    check_steps(service, root.id)


def check_steps(service: Service, root_id: str) -> None:
    """The failed step of a workflow runs again, and the steps after it."""
    store = service.store
    before = {task.id for task in store.workflow(root_id)}
    options = ("--failed-steps", root_id, "--yes")
    call_tasks_command(service.app, "rerun", *options)

    def repeated() -> dict[str, str | None]:
        added = [each for each in store.workflow(root_id) if each.id not in before]
        assert [each.status for each in added] == ["SUCCESS"] * 4
        assert {each.rerun_of for each in added} == before
        return {each.id: each.rerun_of for each in added}

    links = wait_until(repeated)
    lines = service.runs("export.step")

    assert [line.partition(" ")[2] for line in lines] == [f"({n},)" for n in range(4)]
    assert [line.split()[0] for line in lines][0] != root_id
    assert {line.split()[0] for line in lines} == links.keys()


def test_a_body_runs_once_after_the_failed_tasks_of_its_header_are_run_again(
    service: Service,
) -> None:
    store = service.store
    step, good = (service.app.tasks[f"export.{name}"] for name in ("step", "good"))
    inner = chord([good.si("b"), step.si("c")], step.s("inner"))
    header = [good.si("a"), inner, chain(good.si("d"), step.si("e"))]
    root: Any = chain(good.si("first"), chord(header, step.s("outer")))()
    while root.parent is not None:
        root = root.parent

    def has_failed() -> bool:
        flow = store.workflow(root.id)
        # A monitor may see a message after a worker has run the task.
        unseen = [each for each in flow if not each.scheduled_at and not each.not_run]
        return flow.status == "failed" and len(flow) == 8 and not unseen

    wait_until(has_failed)
    failed = store.workflow(root.id).counts["FAILURE"]
    service.folder.joinpath("repaired").touch()
    call_tasks_command(service.app, "rerun", "--failed-steps", root.id, "--yes")
    wait_until(lambda: store.workflow(root.id).status == "done")
    workflow = store.workflow(root.id)
    runs = [line.partition(" ")[2] for line in service.runs("export.step")]

    # Each result is the arguments as text, in the order of the header.
    b, c, e = (repr((each,)) for each in "bce")
    in_inner = ([b, c], "inner")
    in_outer = ([repr(("a",)), repr(in_inner), e], "outer")
    assert sorted(runs) == sorted([c, e, repr(in_inner), repr(in_outer)])
    assert len(service.runs("export.good")) == 4
    assert workflow.counts["FAILURE"] == failed == len(workflow.reruns) == 4
    shown = call_tasks_command(service.app, "show", root.id)
    assert shown.count("mended by") == failed


def check_links(service: Service, old: str, new: str) -> None:
    """Both tasks are shown with the id of the other one."""
    wait_until(lambda: service.store.get(new).status == "SUCCESS")
    shown = [
        json.loads(call_tasks_command(service.app, "show", id, "--json"))
        for id in (old, new)
    ]

    assert [(each["reruns"], each["rerun_of"]) for each in shown] == [
        ([new], None),
        ([], old),
    ]
    assert [each.id for each in service.store.search(f"rerun_of:{old}").tasks] == [new]
