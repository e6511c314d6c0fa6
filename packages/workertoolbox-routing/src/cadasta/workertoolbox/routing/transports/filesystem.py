"""Transport `filesystem`: queues in a folder, safe for many processes.

kombu's transport writes messages and bindings in place, so another process may read
half of a file. It deletes a message when it is read, so a process that is killed loses
its messages.

Here a file is complete before it gets its name. A message that is read moves to a
folder of its reader. It is deleted when it is acknowledged, and returns to its queue
when its reader requeues it, closes the channel or dies.

If only its owner may enter a folder, only its owner may read what is created in it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any, BinaryIO, cast
from uuid import uuid4

from kombu.transport import filesystem, virtual
from kombu.utils.json import dumps

from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport

_logger = logging.getLogger(__name__)

#: Seconds between two searches for messages whose reader has died.
RECOVERY_INTERVAL_S = 1.0

#: Last character, before the queue, in the name of a message that returned to its
#: queue.
_RELEASED = "~"


class Channel(TaskChannel, filesystem.Channel):
    """A channel whose messages are files `<time>_<uuid>.<queue>.msg`."""

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        for folder in (self._inbox, Path(self.data_folder_out), self.control_folder):
            _make_folder(folder)
        self._claims: _Claims | None = None
        self._recovered_at = float("-inf")

    @property
    def _inbox(self) -> Path:
        return Path(self.data_folder_in)

    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:
        name = f"{time.time_ns():020}_{uuid4()}.{queue}.msg"
        _write(Path(self.data_folder_out, name), dumps(payload))

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        self._recover()
        if self._claims is None:
            self._claims = _Claims(self._inbox)
        for name in _messages(self._inbox, queue):
            with suppress(FileNotFoundError):  # another reader was first
                content = self._claims.claim(name)
                if content is None:
                    continue
                message = self.read_message(content, queue)
                message["properties"]["delivery_tag"] = name
                if name.partition(".")[0].endswith(_RELEASED):
                    message["properties"]["delivery_info"]["redelivered"] = True
                return message
        raise Empty()

    def _recover(self) -> None:
        if time.monotonic() - self._recovered_at > RECOVERY_INTERVAL_S:
            self._recovered_at = time.monotonic()
            release_abandoned(self._inbox)

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        if self._claims:
            self._claims.delete(delivery_tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        super().basic_reject(delivery_tag, requeue=requeue)
        if self._claims and not requeue:
            self._claims.delete(delivery_tag)

    def _restore(self, message: virtual.Message) -> None:
        # The same file keeps its place in the queue; kombu would write a new one.
        if self._claims:
            self._claims.release(str(message.delivery_tag))

    def close(self) -> None:
        super().close()
        if self._claims:
            self._claims.close()
            self._claims = None

    def abandon(self) -> None:
        if self._claims:
            self._claims.abandon()
            self._claims = None

    def _queue_bind(
        self, exchange: str, routing_key: str | None, pattern: Any, queue: str | None
    ) -> None:
        binding = [routing_key or "", pattern or "", queue or ""]
        with self._bindings(exchange) as bindings:
            if binding not in bindings:
                bindings.insert(0, binding)

    def _delete(self, queue: str, exchange: str, *binding: Any, **kwargs: Any) -> None:
        self._purge(queue)
        self.remove_stored_binding(exchange, *(part or "" for part in binding))

    def remove_stored_binding(self, exchange: str, *binding: str) -> None:
        """Remove a binding from the file of its exchange."""
        with self._bindings(exchange) as bindings:
            with suppress(ValueError):
                bindings.remove([*binding])

    def _size(self, queue: str) -> int:
        return len(_messages(self._inbox, queue))

    def get_table(self, exchange: str) -> Any:
        """Return the bindings of an exchange; those in a damaged file are lost.

        The next declaration writes the file again.
        """
        try:
            return super().get_table(exchange)
        except (TypeError, ValueError) as error:
            _logger.error(
                "the bindings of exchange %s cannot be read: %s",
                log_text(exchange),
                log_text(error),
            )
            return []

    @contextmanager
    def _bindings(self, exchange: str) -> Iterator[list[list[str]]]:
        """Yield the bindings of an exchange, and write them back if they changed."""
        file: Path = self._exchange_file(exchange)
        with _locked(file.with_suffix(".lock")):
            bindings = [list(binding) for binding in self.get_table(exchange)]
            before = list(bindings)
            yield bindings
            if bindings != before:
                _write(file, dumps(bindings))


class Transport(TaskTransport, filesystem.Transport):
    """kombu's file-system transport with the channel above."""

    Channel = Channel

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        # kombu shares one state in a process, as if the process used only one folder.
        self.state = virtual.BrokerState()


class _Claims:
    """The messages that one channel has read and not acknowledged.

    They lie in a folder of their own. The process holds a lock on the folder until the
    channel is closed or the process ends, even if it is killed.
    """

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox
        self._folder = inbox / "unacked" / str(uuid4())
        _make_folder(self._folder)
        # The file is locked before it gets the name that other processes search for.
        unnamed = self._folder.with_suffix(".new")
        self._lock = _open(unnamed, "wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self._folder.with_suffix(".lock"))

    def claim(self, name: str) -> bytes | None:
        """Move a message out of its queue and return its content.

        Returns:
            The content, or None if it cannot be read; then the file is renamed, so that
            it is not a message any more.

        Raises:
            FileNotFoundError: Another reader has claimed it.
        """
        claimed = self._folder / name
        os.rename(self._inbox / name, claimed)
        try:
            return claimed.read_bytes()
        except OSError as error:
            unreadable = self._inbox / f"{name}.unreadable"
            os.rename(claimed, unreadable)
            _logger.error(
                "cannot read message %s: %s", log_text(str(unreadable)), log_text(error)
            )
            return None

    def delete(self, name: str) -> None:
        """Delete a claimed message."""
        (self._folder / name).unlink(missing_ok=True)

    def release(self, name: str) -> None:
        """Return a claimed message to its queue."""
        with suppress(FileNotFoundError):  # acknowledged in the meantime
            os.rename(self._folder / name, self._inbox / _released_name(name))

    def close(self) -> None:
        """Return every claimed message to its queue, and release the lock."""
        _release_all(self._folder, self._inbox)
        self._lock.close()

    def abandon(self) -> None:
        """Leave the messages and the lock to the parent of this forked process."""
        # The lock lasts until the last copy of the file is closed.
        self._lock.close()


def release_abandoned(inbox: Path) -> None:
    """Return the messages of dead readers to their queues."""
    for lock in inbox.glob("unacked/*.lock"):
        if lock.is_symlink() or not lock.is_file():
            continue  # Opening a pipe would block.
        with suppress(FileNotFoundError, PermissionError), lock.open("rb") as file:
            if _try_lock(file):
                _release_all(lock.with_suffix(""), inbox)


def _release_all(folder: Path, inbox: Path) -> None:
    for claimed in folder.glob("*.msg"):
        with suppress(FileNotFoundError):
            os.rename(claimed, inbox / _released_name(claimed.name))
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".lock").unlink(missing_ok=True)


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing the file does not release the lock if a process that was forked
            # meanwhile has it open too.
            fcntl.flock(file, fcntl.LOCK_UN)


def _messages(inbox: Path, queue: str) -> list[str]:
    """Return the file names of a queue's messages, oldest first.

    A folder, a pipe or a link with the name of a message is not one.
    """
    with os.scandir(inbox) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.endswith(".msg")
            and entry.name.partition(".")[2] == f"{queue}.msg"
            and entry.is_file(follow_symlinks=False)
        )


def _released_name(name: str) -> str:
    """Return the name of a message that returns to its queue, at the same place."""
    stem, dot, rest = name.partition(".")
    return name if stem.endswith(_RELEASED) else f"{stem}{_RELEASED}{dot}{rest}"


def _write(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees all of it or none."""
    part = path.with_name(f".{uuid4()}.part")
    try:
        with _open(part, "xb") as file:
            file.write(text.encode())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, unless they exist."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700 if _is_private(folder.parent) else 0o777, exist_ok=True)


def _open(path: Path, mode: str) -> BinaryIO:
    """Open a binary file, which is created if it does not exist."""
    permissions = 0o600 if _is_private(path.parent) else 0o666
    # Passed to the call that creates the file: a reader may open it at once.
    opener = partial(os.open, mode=permissions)
    return cast(BinaryIO, open(path, mode, opener=opener))


def _is_private(folder: Path) -> bool:
    """Return whether only its owner may enter a folder."""
    return not folder.stat().st_mode & 0o077
