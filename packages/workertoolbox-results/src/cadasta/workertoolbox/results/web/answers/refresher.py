"""One thread that asks the database for all viewers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Condition, Thread, current_thread
from typing import Any, Generic, Protocol, TypeVar

from cadasta.workertoolbox.results._query_errors import QueryTimeout
from cadasta.workertoolbox.results._store.store import TaskStore

#: Seconds between two answers to the same question.
EVERY_S = 5.0

#: Seconds after which nobody is taken to look at an answer any more. A page that is
#: open asks every `EVERY_S`.
FORGET_S = 15.0

#: Seconds for which an answer that nobody looks at is kept up to date, so that the next
#: viewer does not wait for the database, and seconds between two such answers.
KEEP_S, KEPT_EVERY_S = 3600.0, 60.0

#: Seconds without an answer after which those who look at the last one are told.
LATE_S = 20.0

#: How much longer the time between two such answers is at least than one takes.
_KEPT_SHARE = 20

#: Maximum number of questions that are answered again and again: those asked last.
MAX_QUESTIONS = 20

#: Seconds for which `stop` waits for the end of a query.
_STOP_S = 5.0

Value = TypeVar("Value")
_Found = TypeVar("_Found", covariant=True)


class Question(Protocol[_Found]):
    """What pages ask the database; equal questions have the same answer."""

    def __hash__(self) -> int:
        """Return the same hash as equal questions do."""

    def answer(self, store: TaskStore) -> _Found:
        """Ask the database."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Value]):
    """The latest answer to a question.

    Attributes:
        value: What the database said.
        at: When it was asked.
        error: Why it has not answered since then; None if it was not asked again.
        is_late: Whether it has been asked again for long, and has not answered, as when
            the server hangs.
    """

    value: Value
    at: datetime
    error: Exception | None = None
    is_late: bool = False


class _Asked:
    """A question that somebody has asked lately.

    Attributes:
        answer: The latest answer.
        error: Why there is none, after the first attempt.
        asked_at: When the last viewer got the answer.
        wanted_at: Since when the next answer is wanted.
        due_at: When the database is asked next.
        waiting: Number of viewers who wait for the first answer.
    """

    def __init__(self) -> None:
        self.answer: Answer[Any] | None = None
        self.error: Exception | None = None
        self.asked_at = 0.0
        self.wanted_at = 0.0
        self.due_at = 0.0
        self.waiting = 0

    def is_answered(self) -> bool:
        """Return whether the database was asked, and has answered or failed."""
        return self.answer is not None or self.error is not None


class Refresher:
    """Answers to questions, kept up to date by one thread.

    Whatever the number of viewers, the database is asked each question once in
    `every_s`, and never two at a time. When nobody looks at an answer any more, it is
    kept up to date for an hour, once in a minute. The thread starts with the first
    question, and ends when all are forgotten or the store is closed.

    Args:
        every_s: Seconds between two answers to the same question. After a slow answer,
            the thread has as much time for other questions as this one took.
        forget_s: As for `FORGET_S`.
        late_s: As for `LATE_S`.
        keep_s: As for `KEEP_S`; 0 if answers that nobody looks at are not kept.
        kept_every_s: As for `KEPT_EVERY_S`.
    """

    def __init__(
        self,
        store: TaskStore,
        *,
        every_s: float = EVERY_S,
        forget_s: float = FORGET_S,
        late_s: float = LATE_S,
        keep_s: float = KEEP_S,
        kept_every_s: float = KEPT_EVERY_S,
    ) -> None:
        self._store = store
        self._every_s = every_s
        self._forget_s = forget_s
        self._late_s = late_s
        self._keep_s = keep_s
        self._kept_every_s = kept_every_s
        self._questions: dict[Question[Any], _Asked] = {}
        self._thread: Thread | None = None
        self._changed = Condition()
        store.call_on_close(self.stop)

    def ask(self, question: Question[Value]) -> Answer[Value]:
        """Return the latest answer, after waiting for the first one.

        An answer that nobody has looked at lately may be a minute old. Then the next
        one is due at once.

        Raises:
            QueryTimeout: There is no answer within the store's `timeout_s`.
            Exception: What `answer` of the question raises, if it has never returned.
        """
        with self._changed:
            asked = self._questions.setdefault(question, _Asked())
            if not self._is_watched(asked):
                asked.due_at = 0.0
                asked.error = None
                asked.wanted_at = time.monotonic()
            asked.waiting += 1
            self._start()
            timeout_s = self._store.timeout_s
            try:
                if not self._changed.wait_for(asked.is_answered, timeout_s):
                    raise QueryTimeout(after_s=timeout_s)
            finally:
                asked.waiting -= 1
                asked.asked_at = time.monotonic()
            if asked.answer is None:
                assert asked.error is not None
                raise asked.error.with_traceback(None)
            is_late = asked.asked_at - asked.wanted_at > self._late_s
            return replace(asked.answer, is_late=is_late)

    def keep(self, *questions: Question[Any]) -> None:
        """Answer questions that somebody will probably ask soon."""
        if self._keep_s <= self._forget_s:
            return
        with self._changed:
            now = time.monotonic()
            for question in questions:
                asked = self._questions.setdefault(question, _Asked())
                asked.due_at = asked.due_at or now  # After those that are waited for.
                asked.asked_at = max(asked.asked_at, now - self._forget_s)
            self._start()

    def stop(self) -> None:
        """End the thread; the next question starts another one."""
        with self._changed:
            self._questions.clear()
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join(_STOP_S)

    def _start(self) -> None:
        # After a fork, the thread of the parent process is not alive.
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._run, name="refresher", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while (found := self._next()) is not None:
            question, asked = found
            began = time.monotonic()
            answer, error = _answer(question, self._store)
            took_s = time.monotonic() - began
            with self._changed:
                if answer is not None:
                    asked.answer, asked.error = answer, None
                elif asked.answer is not None:
                    asked.answer = replace(asked.answer, error=error)
                else:
                    asked.error = error
                asked.wanted_at = time.monotonic()
                if self._is_watched(asked):
                    asked.due_at = began + max(self._every_s, 2 * took_s)
                else:
                    pause_s = max(self._kept_every_s, _KEPT_SHARE * took_s)
                    asked.due_at = began + pause_s
                self._changed.notify_all()

    def _next(self) -> tuple[Question[Any], _Asked] | None:
        """Wait until a question is due; return None if the thread is to end."""
        with self._changed:
            while self._thread is current_thread():
                now = time.monotonic()
                self._forget(now)
                if not self._questions:
                    self._thread = None
                    break
                found = min(self._questions.items(), key=lambda each: each[1].due_at)
                due_at = found[1].due_at
                if due_at <= now:
                    return found
                self._changed.wait(due_at - now)
        return None

    def _is_watched(self, asked: _Asked) -> bool:
        """Return whether somebody looks at an answer, or waits for it."""
        since = time.monotonic() - self._forget_s
        return asked.waiting > 0 or asked.asked_at > since

    def _forget(self, now: float) -> None:
        kept_s = max(self._forget_s, self._keep_s)
        newest = sorted(
            self._questions.items(),
            key=lambda each: (each[1].waiting > 0, each[1].asked_at),
            reverse=True,
        )
        self._questions = {
            question: asked
            for place, (question, asked) in enumerate(newest)
            if asked.waiting
            or (place < MAX_QUESTIONS and now - asked.asked_at < kept_s)
        }


def _answer(
    question: Question[Value], store: TaskStore
) -> tuple[Answer[Value] | None, Exception | None]:
    at = datetime.now(UTC)
    try:
        return Answer(question.answer(store), at), None
    except Exception as error:  # Each viewer is shown it.
        return None, error
