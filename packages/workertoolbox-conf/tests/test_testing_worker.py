"""A worker in a thread of the test process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import WorkerShutdown
from celery.signals import worker_init

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.conf.testing import WorkerFailed, _worker, embedded
from cadasta.workertoolbox.conf.testing import running_worker as running

#: A value that a test patches.
CONSTANT = "original"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"], worker_prefetch_multiplier=1))
    with embedded(app, tmp_path):
        yield app


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("toolbox")]


def _join() -> None:
    for thread in threading.enumerate():
        if thread.name == "toolbox worker":
            thread.join(10)


def test_a_worker_runs_tasks_of_every_queue(app: Celery) -> None:
    @app.task(name="export.same", shared=False)
    def task() -> str:
        return "same"

    with running(app):
        sent = [task.apply_async(queue=name) for name in ("celery", "export")]

        assert [result.get(timeout=10) for result in sent] == ["same", "same"]


def test_a_worker_ends_with_its_block_and_leaves_no_thread(app: Celery) -> None:
    with running(app):
        assert _threads() == ["toolbox worker"]
    assert _threads() == []


def test_a_worker_ends_if_the_block_raises_an_error(app: Celery) -> None:
    with pytest.raises(ZeroDivisionError), running(app):
        _ = 1 / 0

    assert _threads() == []


def test_a_worker_finishes_its_running_task_before_it_ends(app: Celery) -> None:
    begun, ended, proceed = threading.Event(), threading.Event(), threading.Event()

    @app.task(name="export.wait", shared=False)
    def task() -> None:
        begun.set()
        proceed.wait(10)
        ended.set()

    with running(app):
        task.delay()
        assert begun.wait(10)
        proceed.set()
    assert ended.is_set()


def test_threads_run_tasks_at_the_same_time(app: Celery) -> None:
    both = threading.Barrier(2, timeout=10)

    @app.task(name="export.meet", shared=False)
    def task() -> bool:
        return both.wait() >= 0

    with running(app, pool="threads", concurrency=2):
        sent = [task.delay(), task.delay()]

        assert [result.get(timeout=10) for result in sent] == [True, True]


def test_a_task_sees_what_a_test_has_patched(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="export.constant", shared=False)
    def task() -> str:
        return CONSTANT

    monkeypatch.setattr(f"{__name__}.CONSTANT", "patched")
    with running(app):
        assert task.delay().get(timeout=10) == "patched"


def test_a_worker_that_a_signal_handler_stops_does_not_end_pytest(app: Celery) -> None:
    def refuse(sender: Any, **_: Any) -> None:
        raise SystemExit("no licence")

    worker_init.connect(refuse)
    try:
        with (
            pytest.raises(WorkerFailed, match="'export' cannot run: no licence"),
            running(app),
        ):
            pytest.fail("not reached")
    finally:
        worker_init.disconnect(refuse)


def test_a_worker_that_fails_while_it_starts_is_an_error(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    # The folder of the broker is replaced by a file.
    queues = Path(app.conf.broker_transport_options["data_folder_in"])
    queues.parent.mkdir(exist_ok=True)
    queues.touch()
    app.conf.broker_connection_retry_on_startup = False
    with (
        caplog.at_level(logging.CRITICAL + 1),
        pytest.raises(WorkerFailed, match="'export' did not start"),
        running(app),
    ):
        pytest.fail("not reached")

    assert _threads() == []


def test_the_error_names_a_task_that_does_not_end(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, proceed = threading.Event(), threading.Event()

    @app.task(name="export.hang", shared=False)
    def task() -> None:
        begun.set()
        proceed.wait(30)

    with pytest.raises(
        WorkerFailed, match=r"within 0\.2 s; it is running export\.hang"
    ):
        with running(app):
            task.delay()
            assert begun.wait(10)
            monkeypatch.setattr(_worker, "TIMEOUT_S", 0.2)
    proceed.set()
    _join()

    assert _threads() == []


def test_a_worker_that_ends_by_itself_is_an_error(app: Celery) -> None:
    @app.task(name="export.end", shared=False)
    def task() -> None:
        raise WorkerShutdown(3)

    with pytest.raises(WorkerFailed, match="'export' ended too early"):
        with running(app):
            task.delay()
            _join()
