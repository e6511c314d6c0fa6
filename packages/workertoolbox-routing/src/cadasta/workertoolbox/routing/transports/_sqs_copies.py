"""Copies that are sent to SQS at the same time as their tasks."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

from cadasta.workertoolbox.routing._errors import CopyFailed
from cadasta.workertoolbox.routing._headers import REFUSED
from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing.transports import _sqs_errors as errors
from cadasta.workertoolbox.routing.transports._copies import (
    MAX_LOGGED,
    task_id,
    with_new_tag,
)
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel

_logger = logging.getLogger(__name__)

#: Seconds for which a copy waits for the answer to its task, if the queue may refuse
#: the task for good. Normally an answer takes about 20 ms.
_REFUSED_WITHIN_S = 1.0

#: Characters of a body from which SQS may refuse it. The limit of a message was 256 KiB
#: until August 2025, and is what the attribute `MaximumMessageSize` of a queue says.
_LARGE_BODY = 96 * 1024


class ConcurrentCopyChannel(TaskChannel):
    """A channel that puts a task and its copies at the same time.

    They are two requests, but a tracked publish takes the time of one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The thread that puts copies, with the id of the process that started it.
        self._copy_pool: tuple[int, ThreadPoolExecutor] | None = None
        #: The queues that have accepted the last task for them.
        self._accepting: set[str] = set()
        super().__init__(*args, **kwargs)

    def put_task(
        self, message: dict[str, Any], work: list[str], copies: list[str], **kwargs: Any
    ) -> None:
        """Put a task into its work queues, and at the same time its copies.

        If a queue may refuse the task for good, the copies wait a moment for its
        answer: a copy cannot be taken back. If one was put all the same, a second copy
        tells the monitor that the task was refused.

        Raises:
            CopyFailed: A copy could not be put, and `copy_failure` is `raise`.
            Exception: The task could not be put. A copy may have been put; the monitor
                recognizes the copy of the next try as the same.
        """
        answered, refused = Event(), Event()
        is_safe = self._accepting.issuperset(work) and not _is_large(message)
        if is_safe:
            answered.set()
        tries = [
            partial(self._copy_unless_refused, queue, message, answered, refused)
            for queue in copies
        ]
        futures = self._start(tries)
        try:
            for queue in work:
                self.retry(
                    lambda: self._put(queue, with_new_tag(message), **kwargs)  # noqa: B023
                )
            self._accepting.update(work)
        except BaseException as error:
            self._accepting.difference_update(work)
            refused.set()
            answered.set()
            # Wait: the caller may try again at once.
            outcomes = [future.result() for future in futures]
            copied = [
                queue
                for queue, failure in zip(copies, outcomes, strict=False)
                if failure is None
            ]
            if copied:
                self._withdraw(message, copied, error)
            raise
        answered.set()
        tried = futures or [_done(attempt()) for attempt in tries]
        for future in tried:
            if failure := future.result():
                self.report(failure)

    def _copy_unless_refused(
        self, queue: str, message: dict[str, Any], answered: Event, refused: Event
    ) -> CopyFailed | None:
        answered.wait(_REFUSED_WITHIN_S)
        if refused.is_set():
            return CopyFailed(queue, task_id(message), "the task was refused")
        return self.try_copy(queue, message)

    def _withdraw(
        self, message: dict[str, Any], copies: list[str], error: BaseException
    ) -> None:
        """Tell the monitor, which has the copy of a task, that the task was refused.

        After another error than a refusal, the task may have been sent or be sent
        again.
        """
        if errors.is_permanent(error):
            reason = log_text(str(error), MAX_LOGGED)
            headers = {**message["headers"], REFUSED: reason}
            withdrawal = {**message, "headers": headers}
            failures = [self.try_copy(queue, withdrawal) for queue in copies]
            if not any(failures):
                return
        _logger.warning(
            "task %s was not sent, but its copy for the monitor was, so the "
            "database shows it as waiting until it is sent again: %r",
            task_id(message),
            error,
        )

    def _start(self, tries: list[Any]) -> list[Future[CopyFailed | None]]:
        """Start the tries in another thread, if this process still can."""
        pool = self._pool_of_this_process()
        try:
            return [pool.submit(attempt) for attempt in tries]
        except RuntimeError:
            # Python is shutting down, and starts no threads any more.
            return []

    def _pool_of_this_process(self) -> ThreadPoolExecutor:
        # A forked child inherits the object, but not its thread.
        if self._copy_pool is None or self._copy_pool[0] != os.getpid():
            pool = ThreadPoolExecutor(1, thread_name_prefix="workertoolbox-copy")
            self._copy_pool = (os.getpid(), pool)
        return self._copy_pool[1]

    def close(self) -> None:
        """Close the channel, and the thread that puts copies."""
        super().close()
        if self._copy_pool and self._copy_pool[0] == os.getpid():
            self._copy_pool[1].shutdown()
        self._copy_pool = None


def _done(outcome: CopyFailed | None) -> Future[CopyFailed | None]:
    future: Future[CopyFailed | None] = Future()
    future.set_result(outcome)
    return future


def _is_large(message: dict[str, Any]) -> bool:
    return len(message.get("body") or "") > _LARGE_BODY
