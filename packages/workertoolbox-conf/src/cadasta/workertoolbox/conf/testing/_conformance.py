"""Tests that the promises of the toolbox hold for the app of a service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from typing import Any, ClassVar

import pytest
from celery import Celery, Signature, chain, chord, group, states

from cadasta.workertoolbox.conf.testing._embedding import embedded, find_service
from cadasta.workertoolbox.conf.testing._monitor import running_monitor
from cadasta.workertoolbox.conf.testing._probes import PREFIX, registered_probes
from cadasta.workertoolbox.conf.testing._running_service import RunningService
from cadasta.workertoolbox.conf.testing._worker import running_worker
from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.routing import RoutingError

#: Countdown of a scheduled task in seconds: longer than all tests take.
AHEAD_S = 3600

#: Settings for the formats of tasks and results.
_SERIALIZERS = (
    "task_serializer",
    "result_serializer",
    "accept_content",
    "result_accept_content",
)

_JSON = {"json", "application/json"}


class Conformance:
    """The conformance tests. `conformance` returns a subclass."""

    #: The app of the service, or its name.
    service: ClassVar[Celery | str]

    #: Seconds to wait for a task.
    timeout_s: ClassVar[float]

    @pytest.fixture(scope="class")
    @classmethod
    def running(
        cls, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[RunningService]:
        """The service with a worker and a monitor, in a temporary folder."""
        app = find_service(cls.service)
        folder = tmp_path_factory.mktemp("conformance")
        with ExitStack() as stack:
            stack.enter_context(embedded(app, folder))
            probes = stack.enter_context(registered_probes(app))
            worker = stack.enter_context(running_worker(app))
            stack.enter_context(running_monitor(app))
            store = stack.enter_context(TaskStore.for_app(app))
            yield RunningService(app, worker, store, probes, cls.timeout_s)

    def test_every_task_goes_to_a_declared_queue(self, running: RunningService) -> None:
        _report(
            f"task {name!r}: {problem}"
            for name in sorted(running.app.tasks)
            if not name.startswith(("celery.", PREFIX))
            and (problem := _misrouted(running.app, name))
        )

    def test_tasks_and_results_are_json(self, running: RunningService) -> None:
        conf = running.app.conf
        settings = {name: conf[name] for name in _SERIALIZERS}
        tasks = running.app.tasks
        _report(
            [
                f"{name}={value!r}: the monitor reads JSON only; remove it"
                for name, value in settings.items()
                if not _is_json(value)
            ]
            + [
                f"task {name!r} has serializer {tasks[name].serializer!r}: the monitor "
                "reads JSON only; remove it"
                for name in sorted(tasks)
                if not _is_json(tasks[name].serializer)
            ]
        )

    def test_a_task_in_each_queue_is_run_and_tracked(
        self, running: RunningService
    ) -> None:
        sent = {
            name: running.probes.echo.apply_async((name,), queue=name)
            for name in running.work_queues
        }
        _report(
            f"the task for queue {name!r} went to {task.queue!r}"
            for name, result in sent.items()
            if (task := running.finished(result)).queue != name
        )

    def test_a_worker_consumes_all_queues_but_the_monitors(
        self, running: RunningService
    ) -> None:
        worker: Any = running.worker
        consumed = {queue.name for queue in worker.consumer.task_consumer.queues}
        _report(
            [
                f"the worker consumes {name!r}"
                for name in consumed - {*running.work_queues}
            ]
            + [
                f"the worker does not consume {name!r}"
                for name in {*running.work_queues} - consumed
            ]
        )

    def test_a_chain_is_tracked(self, running: RunningService) -> None:
        echo = running.probes.echo
        result = chain(echo.s(1), echo.s(), echo.s())()
        task = running.finished(result)
        _report_difference("result", task.result, 1)

    def test_a_group_is_tracked(self, running: RunningService) -> None:
        result = group(running.probes.echo.s(n) for n in range(3))()
        for member in result.results:
            running.finished(member)
        tasks = running.tracked(result)
        _report_difference("results", [task.result for task in tasks], [0, 1, 2])

    def test_a_chord_is_tracked(self, running: RunningService) -> None:
        probes = running.probes
        result = chord([probes.echo.s(n) for n in range(3)], probes.total.s())()
        task = running.finished(result)
        _report_difference("result", task.result, 3)

    def test_a_retry_is_an_attempt_of_the_same_task(
        self, running: RunningService
    ) -> None:
        task = running.finished(running.probes.retry.delay())
        published = running.store.published_attempts(task.id)
        _report_difference("published attempts", list(published), [0, 1])
        outcomes = [each.outcome for each in running.store.attempts(task.id)]
        _report_difference("outcomes", outcomes, [states.RETRY, states.SUCCESS])
        _report_difference("retries", task.retries, 1)

    def test_a_failure_is_stored_with_its_error(self, running: RunningService) -> None:
        task = running.finished(running.probes.fail.delay(), status=states.FAILURE)
        _report_difference("error", task.result["exc_type"], "ProbeFailed")

    def test_a_scheduled_task_is_tracked_before_it_is_due(
        self, running: RunningService
    ) -> None:
        result = running.probes.echo.apply_async((1,), countdown=AHEAD_S)
        [task] = running.tracked(result)
        _report_difference("status", task.status, "SCHEDULED")

    def test_a_password_among_arguments_is_not_stored(
        self, running: RunningService
    ) -> None:
        sent = {"password": "conformance-secret"}
        task = running.finished(running.probes.echo.apply_async((1,), sent))
        if "conformance-secret" in str(task.kwargs):
            raise AssertionError(f"the password is in the database: {task.kwargs}")

    def test_no_task_is_run_twice(self, running: RunningService) -> None:
        # When these tasks have ended, earlier messages in the queues have been handled.
        for name in running.work_queues:
            running.wait(running.probes.echo.apply_async((name,), queue=name))
        _report(
            f"task {id} ran {count} times with retries={retries}"
            for (id, retries), count in running.probes.runs.items()
            if count > 1
        )


def conformance(
    app: Celery | str,
    *,
    run: Sequence[Signature[Any]] = (),
    skip: Sequence[str] = (),
    timeout_s: float = 10.0,
) -> type[Conformance]:
    """Return a class of tests that the promises of the toolbox hold for a service.

    Assign the class to a name that begins with `Test`, so that pytest collects it. The
    tests run the service in a temporary folder. They publish tasks of their own, and
    only those tasks of the service that `run` lists.

    Args:
        app: The app, or its name as for `celery -A`, such as `proj.app:app`.
        run: Tasks of the service that the tests may run, and that should succeed, such
            as `[report.s(2026)]`.
        skip: Names of tests to leave out, such as `["test_a_chord_is_tracked"]`.
        timeout_s: Seconds to wait for a task.

    Raises:
        ValueError: `skip` names a test that does not exist.
    """
    members: dict[str, Any] = {"service": app, "timeout_s": timeout_s}
    for name in skip:
        _check_exists(name)
        members[name] = None
    if run:
        names = [str(signature.task) for signature in run]

        @pytest.mark.parametrize("signature", run, ids=names)
        def test(self: Conformance, running: RunningService, signature: Any) -> None:
            running.finished(signature.clone().apply_async())

        members["test_a_task_of_the_service_succeeds_and_is_tracked"] = test
    return type("Conformance", (Conformance,), members)


def _check_exists(name: str) -> None:
    tests = [each for each in vars(Conformance) if each.startswith("test_")]
    if name not in tests:
        [nearest] = get_close_matches(name, tests, n=1, cutoff=0)
        raise ValueError(
            f"skip={name!r} is not a conformance test; did you mean {nearest!r}?"
        )


def _misrouted(app: Celery, name: str) -> str | None:
    """Return what is wrong with the route of a task, or None."""
    task: Any = app.tasks[name]
    # Another test checks the serializer.
    options = {**task._get_exec_options(), "serializer": "json"}
    try:
        route = app.amqp.router.route(options, name, (), {}, task)
    except RoutingError as error:
        return str(error)
    queue: Any = route.get("queue")
    declared = {queue.name for queue in app.conf.task_queues}
    if getattr(queue, "name", queue) not in declared:
        return (
            f"it goes to queue {queue!r}, which is not declared; add it to queues=[…]"
        )
    return None


def _is_json(value: str | Iterable[str] | None) -> bool:
    return {value} <= _JSON if isinstance(value, str) else {*(value or ())} <= _JSON


def _report(problems: Iterable[str]) -> None:
    found = list(problems)
    if found:
        raise AssertionError("\n".join(found))


def _report_difference(what: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise AssertionError(
            f"its {what} is {seen!r} in the database instead of {expected!r}"
        )
