"""Fingerprints of failures: failures with the same fingerprint are one error group.

The fingerprint of a failure is the type of its exception, with the nearest functions of
the service's own code. It has no line numbers, so that it stays the same in the next
release. If the task was killed, or failed within a library, the fingerprint is the
type, the task and the shape of the message. The same holds for a soft time limit, which
can interrupt a task anywhere.

The explicit causes of the exception (`raise … from`), and the first exception of an
`ExceptionGroup`, are part of the fingerprint in the same way: a wrapper that raises
the same error for everything would hide what failed. An exception during the handling
of another one (`__context__`) is not: it depends on what else happened.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from types import TracebackType
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import states
from celery.exceptions import Retry
from celery.utils.serialization import UnpickleableExceptionWrapper

from cadasta.workertoolbox.results._backend.message_shape import message_shape
from cadasta.workertoolbox.results._backend.own_frames import own_frames

#: Version of the algorithm. Each key begins with it, so that a change does not mix
#: groups.
VERSION = 1

#: Number of functions of an exception that count. One would merge the errors of all
#: callers of a common function; with many, each way to an error would be a group.
MAX_FRAMES = 3

#: Number of exceptions of a chain of causes that count, the error itself included.
MAX_CAUSES = 4

#: Python's own descriptors: a class may hide or replace these attributes.
_traceback_of = vars(BaseException)["__traceback__"].__get__
_cause_of = vars(BaseException)["__cause__"].__get__
_context_of = vars(BaseException)["__context__"].__get__
_exceptions_of: Any = vars(BaseExceptionGroup)["exceptions"].__get__
_qualname_of = vars(type)["__qualname__"].__get__
_module_of = vars(type)["__module__"].__get__


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The parts of a fingerprint that come from the exception.

    Attributes:
        task: The name of the task.
        types: The types of the exception and of its causes.
        frames: The service's own functions of each of them, nearest first.
        own_key: A key that the service gives; it replaces all other parts.
    """

    task: str
    types: tuple[str, ...] = ()
    frames: tuple[tuple[str, ...], ...] = ()
    own_key: str | None = None

    @property
    def place(self) -> str | None:
        """The function of the service in which the exception was raised, if any."""
        return next((frames[0] for frames in self.frames if frames), None)

    def key(self, message: str) -> str:
        """Return the key of the group: the version, and 16 hexadecimal digits.

        Args:
            message: The message of the exception, without secrets.
        """
        if self.own_key is not None:
            parts = ["key", self.own_key]
        elif self.place is not None:
            parts = ["frames"]
            for type_, frames in zip(self.types, self.frames, strict=True):
                parts += ["type", type_, *frames]
        else:
            parts = ["message", *self.types, self.task, message_shape(message)]
        text = "\n".join(parts).encode("utf-8", "backslashreplace")
        return f"{VERSION}:{sha256(text).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception, with where it was raised.

    Celery may pass on a copy, or for a retry an exception that was never raised.

    Attributes:
        error: The exception that the task raised, if it is known.
        traceback: Where it was raised.
        cause: Why it was raised.
    """

    error: BaseException
    traceback: TracebackType | None
    cause: BaseException | None

    @classmethod
    def of(cls, error: BaseException, state: str) -> Raised:
        """Return an exception with its traceback and cause.

        Call it in the thread that ran the task.

        Args:
            error: The exception that is stored with a state.
        """
        handled = sys.exception()
        is_retry = _is_a(handled, Retry) and state == states.RETRY
        original = _context_of(handled) if is_retry else handled
        traceback = _traceback_of(error)
        if original is not None and traceback is _traceback_of(original):
            # The error itself, or Celery's wrapper of one that cannot be pickled.
            error = original
        elif is_retry and traceback is None:
            if original is None or not _is_a(original, type(error)):
                return cls(error, _traceback_of(handled), original)
            # For an error that cannot be pickled, Celery passes one of a base class.
            error = original
        return cls(error, _traceback_of(error), _next_cause(error))


def fingerprint(
    raised: Raised, task: str, package: str, *, own_key: str | None = None
) -> Fingerprint:
    """Return the fingerprint of a failure.

    Args:
        task: The name of the task.
        package: The top package of the task.
        own_key: As in `Fingerprint`.
    """
    if _is_a(raised.error, SoftTimeLimitExceeded):
        return Fingerprint(task, (_type_name(raised.error),), ((),), own_key)
    chain = list(_chain(raised))
    return Fingerprint(
        task,
        tuple(_type_name(each.error) for each in chain),
        tuple(own_frames(each.traceback, package, limit=MAX_FRAMES) for each in chain),
        own_key,
    )


def _chain(raised: Raised) -> Iterator[Raised]:
    """Yield an exception and its causes."""
    seen: set[int] = set()
    current: Raised | None = raised
    while current is not None and len(seen) < MAX_CAUSES:
        yield current
        seen.add(id(current.error))
        cause = current.cause
        if cause is None or id(cause) in seen:
            return
        current = Raised(cause, _traceback_of(cause), _next_cause(cause))


def _next_cause(error: BaseException) -> BaseException | None:
    if _is_a(error, BaseExceptionGroup):
        first: BaseException = _exceptions_of(error)[0]
        return first
    cause: BaseException | None = _cause_of(error)
    return cause


def _is_a(error: object, kind: type[BaseException]) -> bool:
    # Unlike `isinstance`, this runs no code of the exception.
    return issubclass(type(error), kind)


def _type_name(error: BaseException) -> str:
    kind = type(error)
    module, name = _module_of(kind), _qualname_of(kind)
    if kind is UnpickleableExceptionWrapper:
        wrapper: Any = error
        module, name = wrapper.exc_module, wrapper.exc_cls_name
    return ".".join(part for part in (module, name) if isinstance(part, str))
