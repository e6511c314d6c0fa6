"""A forked process is not blocked by what a thread of its parent did."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from celery import Celery
from kombu.transport.filesystem import Channel as FolderChannel

from cadasta.workertoolbox.routing import Routing
from cadasta.workertoolbox.routing.transports import _files

#: Seconds after which a child that hangs is killed.
TIMEOUT_S = 10

# Python 3.12 and later warn of a fork in a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[int]:
    """Run a function in a child; yield its process id, and kill it at the end."""
    pid = os.fork()
    if not pid:
        signal.alarm(TIMEOUT_S)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def test_a_folder_is_unlocked_although_a_child_has_the_lock_file_open(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bindings.lock"
    with _files.locked(path):
        child = forked(signal.pause)
        child.__enter__()
    try:
        with path.open("rb") as file:
            assert _files.try_lock(file)
    finally:
        child.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("owner", "name"), [(Celery, "amqp"), (FolderChannel, "data_folder_in")]
)
def test_a_child_can_publish_while_a_thread_of_the_parent_computes_a_property(
    tmp_path: Path, owner: type, name: str
) -> None:
    folders = {
        "data_folder_in": str(tmp_path / "queues"),
        "data_folder_out": str(tmp_path / "queues"),
        "control_folder": str(tmp_path / "bindings"),
    }
    app = Celery("tests", set_as_current=False)
    app.config_from_object(
        Routing(
            ["export"], broker_url="filesystem://", broker_transport_options=folders
        )
    )
    app.send_task("export.note")
    del app.amqp
    is_held, is_over = Event(), Event()

    def hold() -> None:
        with vars(owner)[name].lock:
            is_held.set()
            is_over.wait()

    thread = Thread(target=hold)
    thread.start()
    is_held.wait()
    try:
        with forked(lambda: app.send_task("export.note")) as pid:
            _, status = os.waitpid(pid, 0)
    finally:
        is_over.set()
        thread.join()
        app.close()

    assert os.waitstatus_to_exitcode(status) == 0
