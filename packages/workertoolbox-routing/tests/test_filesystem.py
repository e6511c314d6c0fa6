from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from cadasta.workertoolbox.routing.transports import filesystem

EXCHANGE = Exchange("tasks", type="topic")
WORK = Queue("work", EXCHANGE, routing_key="work")
COPIES = Queue("copies.fifo", EXCHANGE, routing_key="#")


@contextmanager
def connected(folder: Path) -> Iterator[Connection]:
    options = {
        "data_folder_in": str(folder / "queues"),
        "data_folder_out": str(folder / "queues"),
        "control_folder": str(folder / "bindings"),
    }
    transport = "cadasta.workertoolbox.routing.transports.filesystem:Transport"
    with Connection(
        "filesystem://localhost/", transport=transport, transport_options=options
    ) as connection:
        for queue in (WORK, COPIES):
            queue(connection.default_channel).declare()
        yield connection


def publish(connection: Connection, *bodies: Any) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, exchange=EXCHANGE, routing_key="work")


def take(connection: Connection, queue: Queue, count: int = 100) -> list[Any]:
    bound = queue(connection.default_channel)
    messages = (bound.get() for _ in range(count))
    return [message for message in messages if message is not None]


def bodies(messages: list[Any]) -> list[Any]:
    return [message.payload for message in messages]


def test_messages_reach_every_bound_queue_in_order(tmp_path: Path) -> None:
    with connected(tmp_path) as connection:
        publish(connection, 1, 2, 3)

        assert bodies(take(connection, WORK)) == [1, 2, 3]
        assert bodies(take(connection, COPIES)) == [1, 2, 3]


def test_an_acknowledged_message_is_deleted(tmp_path: Path) -> None:
    with connected(tmp_path) as connection:
        publish(connection, 1)
        take(connection, WORK)[0].ack()
        take(connection, COPIES)[0].ack()

    assert [path for path in tmp_path.rglob("*.msg")] == []


def test_messages_of_a_closed_reader_return_to_their_queue(
    tmp_path: Path,
) -> None:
    with connected(tmp_path) as connection:
        publish(connection, 1, 2)
        take(connection, COPIES)
    with connected(tmp_path) as connection:
        assert bodies(take(connection, COPIES)) == [1, 2]
        assert bodies(take(connection, WORK)) == [1, 2]


def test_a_requeued_message_returns_only_to_its_queue(tmp_path: Path) -> None:
    with connected(tmp_path) as connection:
        publish(connection, 1, 2)
        take(connection, COPIES, 1)[0].requeue()

        assert bodies(take(connection, COPIES)) == [1, 2]
        assert bodies(take(connection, WORK)) == [1, 2]


def test_a_rejected_message_is_deleted(tmp_path: Path) -> None:
    with connected(tmp_path) as connection:
        publish(connection, 1)
        take(connection, WORK)[0].reject()

        assert take(connection, WORK) == []


READER = """
import os, sys, signal
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_filesystem import COPIES, connected, take
with connected(Path(sys.argv[2])) as connection:
    take(connection, COPIES)
    print("holding", flush=True)
    signal.pause()
"""


def test_messages_of_a_killed_reader_return_to_their_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "RECOVERY_INTERVAL_S", 0.0)
    with connected(tmp_path) as connection:
        publish(connection, 1, 2)
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(Path(__file__).parent), str(tmp_path)],
            stdout=subprocess.PIPE,
        )
        with reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"holding\n"
            held = take(connection, COPIES)
            reader.send_signal(signal.SIGKILL)

        assert held == []
        assert bodies(take(connection, COPIES)) == [1, 2]
        assert bodies(take(connection, WORK)) == [1, 2]


@contextmanager
def forked(run: Callable[[int], None], processes: int) -> Iterator[None]:
    """Run a function in forked processes, and check that each of them succeeds."""
    children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(number)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    try:
        yield
    finally:
        statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0] * processes


def test_many_processes_neither_lose_nor_duplicate_messages(
    tmp_path: Path,
) -> None:
    writers, count = 4, 50
    # Too large to be written in one system call.
    padding = "x" * 300_000

    def write(number: int) -> None:
        with connected(tmp_path) as connection:
            publish(connection, *([number * count + n, padding] for n in range(count)))

    seen: list[int] = []
    with connected(tmp_path) as connection:
        with forked(write, writers):
            while len(seen) < writers * count:
                for message in take(connection, WORK, 1):
                    seen.append(message.payload[0])
                    message.ack()

        assert sorted(seen) == list(range(writers * count))
        assert len(take(connection, COPIES, 1000)) == writers * count
        assert take(connection, WORK) == []


def test_bindings_declared_by_many_processes_at_once_are_all_kept(
    tmp_path: Path,
) -> None:
    processes, count = 4, 50

    def bind(number: int) -> None:
        with connected(tmp_path) as connection:
            for n in range(count):
                name = f"{number}-{n}"
                queue = Queue(name, EXCHANGE, routing_key=name)
                queue(connection.default_channel).declare()

    with forked(bind, processes):
        pass
    table = json.loads((tmp_path / "bindings" / "tasks.exchange").read_text())
    bound = {queue for _, _, queue in table}

    assert len(bound) == processes * count + len((WORK, COPIES))


def test_a_deleted_queue_is_no_longer_bound(tmp_path: Path) -> None:
    with connected(tmp_path) as connection:
        COPIES(connection.default_channel).delete()
        publish(connection, 1)

        assert take(connection, COPIES) == []
        assert bodies(take(connection, WORK)) == [1]


@pytest.mark.parametrize(("folder_mode", "others"), [(0o700, 0o000), (0o750, 0o044)])
def test_files_and_folders_are_as_private_as_the_folder_around_them(
    tmp_path: Path, folder_mode: int, others: int
) -> None:
    tmp_path.chmod(folder_mode)
    before = os.umask(0o022)
    try:
        with connected(tmp_path) as connection:
            publish(connection, 1, 2)
            take(connection, COPIES, 1)
            modes = {path.stat().st_mode & 0o066 for path in tmp_path.rglob("*")}
    finally:
        os.umask(before)

    assert modes == {others}


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to an endless file": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_a_file_that_is_not_a_message_does_not_stop_a_reader(
    tmp_path: Path, kind: str
) -> None:
    with connected(tmp_path) as connection:
        publish(connection, 1)
        odd = tmp_path / "queues" / f"{'0' * 20}_odd.work.msg"
        ODD_FILES[kind](odd)
        received = take(connection, WORK)
        size: Any = WORK(connection.default_channel).queue_declare(passive=True)

        assert bodies(received) == [1]
        assert size.message_count == 0
        assert os.path.lexists(odd)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_an_odd_file_among_the_locks_does_not_stop_a_reader(
    tmp_path: Path, kind: str
) -> None:
    with connected(tmp_path) as connection:
        publish(connection, 1)
        (tmp_path / "queues" / "unacked").mkdir(exist_ok=True)
        ODD_FILES[kind](tmp_path / "queues" / "unacked" / "odd.lock")

        assert bodies(take(connection, WORK)) == [1]


def test_a_message_that_cannot_be_read_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def fail_for_first(path: Path) -> bytes:
        if not path.name.startswith(first.name):
            return read(path)
        raise PermissionError(13, "Permission denied")

    with connected(tmp_path) as connection:
        publish(connection, 1, 2)
        first = min((tmp_path / "queues").glob("*.work.msg"))
        # The tests may run as root, who can read every file.
        monkeypatch.setattr(Path, "read_bytes", fail_for_first)

        assert bodies(take(connection, WORK)) == [2]
        assert first.with_name(f"{first.name}.unreadable").exists()


@pytest.mark.parametrize("content", [b"", b"[[1]]", b"{", b"\xff", b"7"])
def test_damaged_bindings_are_written_again(tmp_path: Path, content: bytes) -> None:
    with connected(tmp_path):
        pass
    [file] = (tmp_path / "bindings").glob("*.exchange")
    file.write_bytes(content)
    with connected(tmp_path) as connection:
        publish(connection, 1)

        assert bodies(take(connection, WORK)) == [1]
        assert bodies(take(connection, COPIES)) == [1]


def test_a_message_that_returned_to_its_queue_is_marked_as_redelivered(
    tmp_path: Path,
) -> None:
    with connected(tmp_path) as connection:
        publish(connection, 1, 2)
        first = take(connection, WORK, 1)[0]
        first.requeue()
        again, other = take(connection, WORK)

        assert bodies([again, other]) == [1, 2]
        assert again.delivery_info["redelivered"] is True
        assert "redelivered" not in other.delivery_info
