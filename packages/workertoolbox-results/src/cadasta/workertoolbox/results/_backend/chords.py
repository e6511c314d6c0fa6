"""Chords without `celery.chord_unlock`: the last header task starts the body."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Celery, states
from celery.app.task import Context
from celery.backends import base
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, result_from_tuple
from celery.utils.functional import maybe_list
from celery.utils.log import get_task_logger
from kombu.utils.encoding import ensure_bytes

from cadasta.workertoolbox.results._backend import chord_progress
from cadasta.workertoolbox.results._backend.chord_progress import (
    ChordPart,
    ChordProgress,
)
from cadasta.workertoolbox.results._backend.polling import poll_intervals
from cadasta.workertoolbox.results._backend.unrun_steps import Cause
from cadasta.workertoolbox.results._database.connection import Database

#: Seconds after which a worker that runs a header task again publishes a body that is
#: due but not published. Publishing takes less, so a publisher that is only slow is
#: done by then.
TAKEOVER_S = 30.0

#: Longest interval in seconds between two checks whether the first publisher is done.
LONGEST_S = 1.0

logger = get_task_logger(__name__)


class ChordMixin(base.BaseBackend):
    """The methods by which Celery runs chords.

    Each header task is counted once, however often it runs, and the worker that counts
    the last one publishes the body. If its process dies before that, the body is
    published when the task is delivered again: immediately where Celery has seen this
    process die, otherwise after `TAKEOVER_S`, because it may still be alive.
    """

    app: Celery
    #: Where the chords are stored; its connections commit by themselves.
    database: Database
    _ensure_retryable: Callable[..., Any]
    fail_body: Callable[..., None]
    _get_task_meta_for: Callable[[str], dict[str, Any]]

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Store a chord whose header is about to be published."""
        id, results = header_result_args
        # Celery wraps a generator in a subclass of `list` and publishes while it
        # iterates. Such a header must not be consumed here; it is always flat.
        is_nested = type(results) is list and any(
            isinstance(result, GroupResult) for result in results
        )
        header = self.app.GroupResult(id, results).as_tuple() if is_nested else None
        encoded = ensure_bytes(self.encode(header)) if is_nested else None
        self._ensure_retryable(chord_progress.create, self.database, id, encoded)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Store the number of header tasks; Celery calls this before the last one."""
        self._ensure_retryable(
            chord_progress.set_size, self.database, group_id, chord_size
        )

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Add a task to the header, for `Task.add_to_chord`."""
        self._ensure_retryable(chord_progress.add_task, self.database, chord_id)

    def on_chord_part_return(
        self, request: Any, state: str, result: Any, **kwargs: Any
    ) -> None:
        """Count a header task that is done, and start the body after the last one."""
        if not request.group or not request.id:
            return
        part = self._chord_part(request, state, result)
        progress, is_new = self._ensure_retryable(
            chord_progress.record_part, self.database, part
        )
        if is_new and not progress.is_known and progress.done == 1:
            _warn_of_unknown_chord(request)
        if not progress.is_body_due:
            return
        is_lost = isinstance(result, WorkerLostError)
        if is_new or self._claim_body(part, progress, is_lost=is_lost):
            body = maybe_signature(request.chord, self.app)
            self._start_body(part.chord_id, body, request)

    def _chord_part(self, request: Any, state: str, result: Any) -> ChordPart:
        encoded = self.encode(self.encode_result(result, state))
        if state in states.PROPAGATE_STATES:
            # The first success stays, as in the table of results.
            meta = self._ensure_retryable(self._get_task_meta_for, request.id)
            if meta["status"] == states.SUCCESS:
                state, encoded = states.SUCCESS, self.encode(meta["result"])
        position = -1 if request.group_index is None else request.group_index
        return ChordPart(
            request.group, request.id, position, state, ensure_bytes(encoded)
        )

    def _claim_body(
        self, part: ChordPart, progress: ChordProgress, *, is_lost: bool
    ) -> bool:
        """Wait until another process has started the body, and claim it otherwise.

        Args:
            is_lost: Whether Celery has seen the process of the task die. If it was the
                one that starts the body, the worker claims it without waiting.

        Returns:
            Whether this process has to start the body.
        """
        if is_lost:
            is_starter = progress.starter_id in (None, part.task_id)
            return is_starter and self._try_claim(part, progress)
        now: ChordProgress | None = progress
        while now is not None and now.is_body_due:
            # The process that claims it may die as well.
            seen, now = now, self._wait_for_change(part.chord_id, now)
            if now == seen and self._try_claim(part, seen):
                return True
        return False

    def _try_claim(self, part: ChordPart, progress: ChordProgress) -> bool:
        claimed: bool = self._ensure_retryable(
            chord_progress.claim_body, self.database, part, progress
        )
        return claimed

    def _wait_for_change(self, id: str, seen: ChordProgress) -> ChordProgress | None:
        """Return the progress of a chord when it has changed, or after `TAKEOVER_S`."""
        now: ChordProgress | None = seen
        for sleep_s in poll_intervals(TAKEOVER_S, longest_s=LONGEST_S):
            now = self._ensure_retryable(chord_progress.find, self.database, id)
            if now != seen or sleep_s is None:
                break
            time.sleep(sleep_s)
        return now

    def _start_body(self, id: str, body: Any, request: Any) -> None:
        """Publish the body, or fail it.

        Args:
            request: The request of the last task of the header.
        """
        keep_parts = False
        try:
            body.delay(self._ensure_retryable(self._header_results, id))
        except ChordError as error:
            logger.error("Chord %s: %s", id, error)
            keep_parts = True  # For `tasks rerun --failed-steps`.
            _unlink_outer_errbacks(body)
            self.fail_body(body, error, self._cause(error, request))
        except Exception as error:
            # As in Celery's own backends, the body fails, so that waiting for it ends.
            logger.exception("Chord %s: its body cannot be published", id)
            failure = ChordError(f"Callback error: {error!r}")
            cause = Cause.of(request, "was followed by an error")
            _unlink_outer_errbacks(body)
            self.fail_body(body, failure, cause)
        self._ensure_retryable(
            chord_progress.mark_started, self.database, id, keep_parts=keep_parts
        )

    def _cause(self, error: Any, request: Any) -> Cause:
        """Return why the body is not run: which task of the header failed."""
        meta = self._ensure_retryable(self._get_task_meta_for, error.task_id)
        failed = Context(id=error.task_id, task=meta.get("name"))
        cause = Cause.of(failed, "failed")
        return cause._replace(root_id=request.root_id, request=None)

    def _header_results(self, id: str) -> list[Any]:
        """Return the return values of the header's tasks, in the order of the header.

        Raises:
            ChordError: One of its tasks failed.
        """
        header, parts = chord_progress.fetch_parts(self.database, id)
        values = [(part.task_id, self._part_value(part)) for part in parts]
        if header is None:
            return [value for _, value in values]
        group = result_from_tuple(self.decode(bytes(header)), self.app)
        nested: list[Any] = _nested_values(group, dict(values))
        return nested

    def _part_value(self, part: ChordPart) -> Any:
        value = self.decode(bytes(part.result))
        if part.status not in states.PROPAGATE_STATES:
            return value
        cause = self.exception_to_python(value)
        # The same message as in Celery's own backends.
        error: Any = ChordError(f"Dependency {part.task_id} raised {cause!r}")
        error.task_id = part.task_id
        raise error from cause


def _warn_of_unknown_chord(request: Any) -> None:
    """Log that no body will follow; once for a chord, at the first part."""
    logger.warning(
        "Chord %s: %s[%s] is done, but this database does not know the chord: a "
        "service with another result backend has begun it. This worker does not count "
        "its tasks and will not start its body. Give the service that begins it the "
        "result backend of the toolbox, and send chords that are stuck again",
        request.group,
        getattr(request, "task", "a task"),  # A message that is rejected may lack it.
        request.id,
    )


def _unlink_outer_errbacks(body: Any) -> None:
    """Remove the error callbacks that the failure of an outer chord calls.

    Celery links them to a chord in the header as well, so each would be called twice.
    """
    outer = list(_errbacks(body.options.get("chord")))
    given = maybe_list(body.options.get("link_error")) or []
    body.options["link_error"] = [each for each in given if _called(each) not in outer]


def _errbacks(signature: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the error callbacks of a signature, and those of a group's tasks."""
    if not signature:
        return
    for each in maybe_list(signature.get("options", {}).get("link_error")) or []:
        yield _called(each)
    if signature.get("subtask_type") == "group":
        for task in signature["kwargs"].get("tasks", ()):
            yield from _errbacks(task)


def _called(errback: Any) -> tuple[Any, ...]:
    return errback["task"], list(errback["args"]), errback["kwargs"]


def _nested_values(result: Any, values: Mapping[str, Any]) -> Any:
    """Return the values of a result's tasks as lists, nested like its groups."""
    if isinstance(result, GroupResult):
        return [_nested_values(each, values) for each in result.results or ()]
    return values[result.id]
