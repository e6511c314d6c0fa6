"""Messages that may end a worker: those that workers were handling when they ended.

A message can kill a worker in ways that no check foresees: its process runs out of
memory, or a signal handler of the service exits. The broker then delivers the message
to the next worker. So a worker marks a message that was delivered before, and removes
the mark when it has passed the message on. If the mark is there already, the message
has ended two workers: the one that received it first, and the one that left the mark.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from celery import Celery
from celery.backends.base import DisabledBackend
from celery.result import GroupResult

from cadasta.workertoolbox.routing._log_text import log_text

_logger = logging.getLogger(__name__)

#: Seconds without marks after they could not be written: a worker must not wait for an
#: unavailable database with each message.
PAUSE_S = 60.0

#: Seconds after which a mark in a folder no longer counts.
MAX_AGE_S = 86_400.0


class _Marks(Protocol):
    def has(self, key: str) -> bool: ...

    def add(self, key: str) -> None: ...

    def remove(self, key: str) -> None: ...


class Suspects:
    """The marks of an app's workers: in its result backend, or else on this host."""

    def __init__(self, app: Celery) -> None:
        is_disabled = isinstance(app.backend, DisabledBackend)
        self._marks: _Marks = _FolderMarks() if is_disabled else _BackendMarks(app)
        self._paused_until = float("-inf")

    def begin(self, key: str) -> bool:
        """Mark a message; return whether another worker has left its mark."""
        if time.monotonic() < self._paused_until:
            return False
        try:
            if self._marks.has(key):
                return True
            self._marks.add(key)
        except Exception as error:
            self._pause(error)
        return False

    def end(self, key: str) -> None:
        """Remove the mark of a message."""
        if time.monotonic() < self._paused_until:
            return
        try:
            self._marks.remove(key)
        except Exception as error:
            self._pause(error)

    def _pause(self, error: Exception) -> None:
        self._paused_until = time.monotonic() + PAUSE_S
        _logger.warning(
            "cannot mark messages that were delivered before; one that ends workers "
            "is not recognized for %.0f s: %s",
            PAUSE_S,
            log_text(str(error)),
        )


def suspect_key(message: Any) -> str:
    """Return a key that identifies a message in all of its deliveries."""
    body = message.body or b""
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    digest = sha256(str((message.headers or {}).get("id")).encode("utf-8", "replace"))
    digest.update(raw)
    return f"workertoolbox-suspect-{digest.hexdigest()[:32]}"


def is_redelivered(message: Any) -> bool:
    """Return whether a message was delivered before, as far as the broker says so."""
    info = message.delivery_info or {}
    return bool(info.get("redelivered"))


class _BackendMarks:
    """Marks as empty groups in a result backend, which deletes old ones itself."""

    # `celery-types` does not know the method of the app.
    def __init__(self, app: Any) -> None:
        self._app = app
        # A backend of its own, without retries: the main process of a worker would
        # handle no message while it retries.
        self._backend: Any = app._get_backend()
        self._backend.always_retry = False

    def has(self, key: str) -> bool:
        return self._backend.restore_group(key, cache=False) is not None

    def add(self, key: str) -> None:
        self._backend.save_group(key, GroupResult(key, [], app=self._app))

    def remove(self, key: str) -> None:
        self._backend.delete_group(key)


class _FolderMarks:
    """Marks as empty files in a folder for temporary files, which only its owner reads.

    Raises:
        PermissionError: The folder belongs to another user.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.gettempdir()) / f"workertoolbox-{os.getuid()}"

    def has(self, key: str) -> bool:
        try:
            marked_at = (self._folder / key).stat().st_mtime
        except FileNotFoundError:
            return False
        return time.time() - marked_at < MAX_AGE_S

    def add(self, key: str) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(f"{self._folder} belongs to somebody else")
        (self._folder / key).touch()

    def remove(self, key: str) -> None:
        (self._folder / key).unlink(missing_ok=True)
