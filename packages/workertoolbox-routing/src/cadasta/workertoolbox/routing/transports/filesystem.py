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

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem, virtual
from kombu.utils.json import dumps

from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing.transports._claims import (
    Claims,
    is_released,
    release_abandoned,
)
from cadasta.workertoolbox.routing.transports._files import (
    locked,
    make_folder,
    write,
)
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport

_logger = logging.getLogger(__name__)

#: Seconds between two searches for messages whose reader has died.
RECOVERY_INTERVAL_S = 1.0


class Channel(TaskChannel, filesystem.Channel):
    """A channel whose messages are files `<time>_<uuid>.<queue>.msg`."""

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        for folder in (self._inbox, Path(self.data_folder_out), self.control_folder):
            make_folder(folder)
        self._claims: Claims | None = None
        self._recovered_at = float("-inf")

    @property
    def _inbox(self) -> Path:
        return Path(self.data_folder_in)

    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:
        name = f"{time.time_ns():020}_{uuid4()}.{queue}.msg"
        write(Path(self.data_folder_out, name), dumps(payload))

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        self._recover()
        if self._claims is None:
            self._claims = Claims(self._inbox)
        for name in _messages(self._inbox, queue):
            with suppress(FileNotFoundError):  # another reader was first
                content = self._claims.claim(name)
                if content is None:
                    continue
                message = self.read_message(content, queue)
                message["properties"]["delivery_tag"] = name
                if is_released(name):
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
        with locked(file.with_suffix(".lock")):
            bindings = [list(binding) for binding in self.get_table(exchange)]
            before = list(bindings)
            yield bindings
            if bindings != before:
                write(file, dumps(bindings))


class Transport(TaskTransport, filesystem.Transport):
    """kombu's file-system transport with the channel above."""

    Channel = Channel

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        # kombu shares one state in a process, as if the process used only one folder.
        self.state = virtual.BrokerState()


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
