"""Chords without `celery.chord_unlock`: the last task of the header starts the body."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Celery, states
from celery.backends import base
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, result_from_tuple
from celery.utils.log import get_task_logger
from kombu.utils.encoding import ensure_bytes

from cadasta.workertoolbox.results._backend import chord_progress as _chord
from cadasta.workertoolbox.results._backend.chord_progress import Part, Progress
from cadasta.workertoolbox.results._backend.polling import waits
from cadasta.workertoolbox.results._database.connection import Database

#: Seconds after which a body that is due and not published is published by whoever runs
#: a task of the header again: longer than it takes to publish one, since its publisher
#: may just be slow.
TAKEOVER_S = 30.0

logger = get_task_logger(__name__)


class NativeChords(base.BaseBackend):
    """What Celery asks of a backend about chords.

    Each task of a header is counted once, whatever runs twice; who counts the last one
    publishes the body. If that process dies before it has, and the task is delivered
    again, the body is published then: at once where Celery saw the process die, after
    `TAKEOVER_S` where it might still be at it.
    """

    app: Celery
    #: Where the chords are; its connections commit by themselves.
    database: Database
    _ensure_retryable: Callable[..., Any]
    _fail_chain: Callable[..., None]
    _get_task_meta_for: Callable[[str], dict[str, Any]]

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Remember a chord whose header is going to be published."""
        id, results = header_result_args
        # A generator, wrapped in a subclass of `list`, is not asked before its turn;
        # what it yields is a plain list.
        nested = type(results) is list and any(
            isinstance(result, GroupResult) for result in results
        )
        header = self.app.GroupResult(id, results).as_tuple() if nested else None
        encoded = ensure_bytes(self.encode(header)) if nested else None
        self._ensure_retryable(_chord.begin, self.database, id, encoded)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Remember how many tasks the header has, before the last is published."""
        self._ensure_retryable(_chord.set_size, self.database, group_id, chord_size)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Wait for one more task, as `Task.add_to_chord` asks."""
        self._ensure_retryable(_chord.add, self.database, chord_id)

    def on_chord_part_return(
        self, request: Any, state: str, result: Any, **kwargs: Any
    ) -> None:
        """Count a task of a header that is done, and start the body after the last."""
        if not request.group or not request.id:
            return
        part = self._part(request, state, result)
        progress, news = self._ensure_retryable(_chord.record, self.database, part)
        if not progress.waiting:
            return
        lost = isinstance(result, WorkerLostError)
        if news or self._take_over(part.chord_id, progress, at_once=lost):
            self._start_body(part.chord_id, maybe_signature(request.chord, self.app))

    def _part(self, request: Any, state: str, result: Any) -> Part:
        encoded = self.encode(self.encode_result(result, state))
        if state in states.PROPAGATE_STATES:
            # The first success stays, as in the table of results.
            meta = self._ensure_retryable(self._get_task_meta_for, request.id)
            if meta["status"] == states.SUCCESS:
                state, encoded = states.SUCCESS, self.encode(meta["result"])
        position = -1 if request.group_index is None else request.group_index
        return Part(request.group, request.id, position, state, ensure_bytes(encoded))

    def _take_over(self, id: str, progress: Progress, *, at_once: bool) -> bool:
        """Wait for another to start the body; return whether it is ours to do."""
        for wait_s in waits(0 if at_once else TAKEOVER_S, longest_s=1):
            now = self._ensure_retryable(_chord.find, self.database, id)
            if now != progress:
                return False
            if wait_s is None:
                break
            time.sleep(wait_s)
        taken: bool = self._ensure_retryable(
            _chord.take_over, self.database, id, progress
        )
        return taken

    def _start_body(self, id: str, body: Any) -> None:
        try:
            body.delay(self._ensure_retryable(self._header_results, id))
        except ChordError as error:
            logger.error("Chord %s: %s", id, error)
            self._fail_body(body, error)
        except Exception as error:
            # As Celery's own backends do: who waits for the body is told.
            logger.exception("Chord %s: its body cannot be published", id)
            failure = ChordError(f"Callback error: {error!r}")
            self._fail_body(body, failure)
        self._ensure_retryable(_chord.end, self.database, id)

    def _fail_body(self, body: Any, error: ChordError) -> None:
        # Celery's way to tell an outer chord, whose header the body is a task of; as
        # it skips what has failed, it comes first.
        self._fail_chain([body], error, None)
        self.chord_error_from_stack(body, error)

    def _header_results(self, id: str) -> list[Any]:
        """Return the values of the header in its order.

        Raises:
            ChordError: One of its tasks failed.
        """
        header, parts = _chord.fetch(self.database, id)
        values = [(part.task_id, self._value(part)) for part in parts]
        if header is None:
            return [value for _, value in values]
        nested = result_from_tuple(self.decode(bytes(header)), self.app)
        ordered: list[Any] = _values_of(nested, dict(values))
        return ordered

    def _value(self, part: Part) -> Any:
        value = self.decode(bytes(part.result))
        if part.status not in states.PROPAGATE_STATES:
            return value
        cause = self.exception_to_python(value)
        raise ChordError(f"Dependency {part.task_id} raised {cause!r}") from cause


def _values_of(result: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(result, GroupResult):
        return [_values_of(each, values) for each in result.results or ()]
    return values[result.id]
