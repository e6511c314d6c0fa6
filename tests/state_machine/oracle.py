"""What the database has to say after each step, as plain objects in memory.

Nothing here is SQL, and nothing is imported from the toolbox.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from state_machine.places import FINAL, Archived, Message, Result, Run, Task

ARCHIVE_AFTER = timedelta(seconds=60)
CLOSE_AFTER = timedelta(seconds=30)
LOST_AFTER = timedelta(hours=6)
FORGOTTEN_FOR = timedelta(hours=1)

#: The setting `RETENTION` in days.
RETENTION = {"default": 30, "FAILURE": 60}


class Oracle:
    """All tasks, and what the figures have counted.

    Args:
        drops_days: Whether old days are dropped whole, with PostgreSQL. Results stay
            then, until they expire, and are not shown.
    """

    def __init__(self, *, drops_days: bool) -> None:
        self._drops_days = drops_days
        self.tasks: dict[str, Task] = {}
        self.counted: Counter[tuple[str, str]] = Counter()

    def shown(self) -> dict[str, Task]:
        """Return the tasks that readers see."""
        return {
            id: task
            for id, task in self.tasks.items()
            if task.is_live or task.archived is not None
        }

    def copy(self, message: Message) -> None:
        """Store a copy of a message, as monitors do, for the first time or again."""
        task = self.tasks.setdefault(message.id, Task())
        if task.message is None:
            task.message = message
            self._join_result(task, message)
        elif message.retries > task.message.retries:
            result = task.result
            if (
                result is None
                or not result.has_ended
                or result.message == message
                or result.is_queued_again_by(message)
            ):
                task.message = message
        task.messages.setdefault(message.retries, message)

    def _join_result(self, task: Task, message: Message) -> None:
        """Make the end of an archived task live again, or drop it for a new run."""
        if task.result is None and task.archived is not None:
            if not task.archived.result.is_queued_again_by(message):
                task.result = replace(task.archived.result, archived_at=None)
        result = task.result
        if result is None or not (result.archived_at or result.was_revoked_unrun):
            return
        if result.has_ended and result.is_queued_again_by(message):
            task.result = None
        else:
            result.archived_at = None

    def store(self, status: str, run: Run, at: datetime, value: object = None) -> None:
        """Store a state of a run."""
        task = self.tasks.setdefault(run.message.id, Task())
        old, new = task.result, Result(status, run, at, [run], value)
        if old is not None and not _replaces(old, new):
            if status in FINAL and run.started_at is not None:
                run.outcome = "DUPLICATE"
                old.runs.append(run)
                old.archived_at = None
            return
        if old is not None:
            new.runs = [*(each for each in old.runs if each is not run), run]
            if old.status == "STARTED" and old.run is not run:
                old.run.outcome = "LOST"
            if old.run.started_at is None and not old.forgotten:
                new.runs.remove(old.run)  # It was not run, and now it is.
        run.outcome = None if status == "STARTED" else status
        task.result = new

    def forget(self, id: str, at: datetime) -> None:
        """Hide the end of a task from `AsyncResult`."""
        task = self.tasks[id]
        if task.result is not None:
            task.result.forgotten = True
            task.result.archived_at = task.result.archived_at and at
        if task.archived is not None and (
            task.result is None or task.result.archived_at
        ):
            task.archived.result.forgotten = True

    def expire_results(self, before: datetime) -> None:
        """Delete results older than `result_expires`, except ends to be archived."""
        for task in self.tasks.values():
            result = task.result
            if result is None or result.stored_at >= before:
                continue
            if result.archived_at or not result.has_ended:
                task.result = None

    def archive(self, now: datetime) -> None:
        """Do the housekeeping, and then archive what ended a minute ago."""
        for task in self.tasks.values():
            result = task.result
            if result and result.forgotten and result.archived_at:
                if result.archived_at < now - FORGOTTEN_FOR:
                    task.result = None
            self._close_expired(task, now)
            self._mark_lost(task, now)
        self._drop_old(now)
        for task in self.tasks.values():
            result = task.result
            if result and not result.archived_at and result.has_ended:
                if result.stored_at < now - ARCHIVE_AFTER:
                    self._archive(task, result, now)

    def _close_expired(self, task: Task, now: datetime) -> None:
        message, result = task.message, task.result
        if message is None or message.expires is None:
            return
        if message.expires >= now - CLOSE_AFTER:
            return
        unrun = Run(message, None, None, "REVOKED")
        if result is None:
            task.result = Result("REVOKED", unrun, now, [unrun])
        elif result.status == "RETRY" and result.message.retries < message.retries:
            task.result = Result("REVOKED", unrun, now, [*result.runs, unrun])

    def _mark_lost(self, task: Task, now: datetime) -> None:
        result = task.result
        if result is None or result.status != "STARTED":
            return
        is_other = task.message not in (None, result.message)
        if not is_other and result.stored_at < now - LOST_AFTER:
            result.status, result.stored_at = "LOST", now
            result.run.outcome = "LOST"

    def _drop_old(self, now: datetime) -> None:
        for task in self.tasks.values():
            if task.archived and (self._drops_days or not task.is_live):
                kept = RETENTION.get(task.archived.result.status, RETENTION["default"])
                if task.archived.day < now.date() - timedelta(days=kept):
                    task.archived = None
                    if not self._drops_days:
                        task.result = None

    def _archive(self, task: Task, result: Result, now: datetime) -> None:
        messages = task.messages
        if (before := task.archived) is not None:
            self.counted[_counter(before.result)] -= 1
            earlier = [*before.result.runs]
            if before.result.was_revoked_unrun:
                earlier.remove(before.result.run)
            later = [each for each in result.runs if each not in earlier]
            result.runs = [*earlier, *later]
            messages = {**before.messages, **messages}
        self.counted[_counter(result)] += 1
        task.archived = Archived(replace(result, runs=[*result.runs]), messages)
        if task.message is not None and result.is_queued_again_by(task.message):
            task.result = None
            return
        task.message, task.messages = None, {}
        result.archived_at = now

    def purge(self, before: datetime) -> None:
        """Delete what is older than an instant."""
        for task in self.tasks.values():
            result = task.result
            if task.is_live:
                if task.message is not None:
                    first = min(each.published_at for each in task.messages.values())
                    eta = task.message.eta
                    is_due = eta is None or eta < before
                    is_old = first < before and is_due
                    if result and result.has_ended and result.stored_at >= before:
                        is_old = False
                else:
                    is_old = result is not None and result.stored_at < before
                if is_old:
                    task.message, task.messages, task.result = None, {}, None
            elif result and result.stored_at < before:
                task.result = None
            if task.archived is None:
                continue
            if self._drops_days and task.archived.day < before.date():
                task.archived = None
            elif not task.is_live and task.archived.result.stored_at < before:
                task.archived = task.result = None


def _counter(result: Result) -> tuple[str, str]:
    return (result.message.name, result.status)


def _replaces(old: Result, new: Result) -> bool:
    """Return whether a state replaces the one that is stored."""
    was_again = old.message.published_at < new.message.published_at
    if was_again and old.stored_at < new.message.published_at:
        return True
    if new.status in FINAL:
        return old.status != "SUCCESS" or old.forgotten
    if old.forgotten or old.was_revoked_unrun:
        return True
    return old.status not in FINAL and old.message.retries <= new.message.retries
