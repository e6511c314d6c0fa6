"""A task of the oracle in the three places that it has in the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

FINAL = {"SUCCESS", "FAILURE", "REVOKED"}
ENDED = FINAL | {"LOST"}


@dataclass(frozen=True)
class Message:
    """A message of a task; each attempt has one.

    Attributes:
        published_at: When it was published; each message at another time.
    """

    id: str
    name: str
    queue: str
    retries: int
    published_at: datetime
    expires: datetime | None = None
    eta: datetime | None = None


@dataclass(eq=False)
class Run:
    """A run of a message by a worker, or its revocation, which has no start.

    Attributes:
        worker: None for a message that the archiver has closed.
        outcome: What is stored of its end.
    """

    message: Message
    worker: str | None
    started_at: datetime | None
    outcome: str | None = None


@dataclass
class Result:
    """The last state of a task.

    Attributes:
        run: The run that stored it.
        runs: That run, and those before.
        archived_at: When it was copied to the history; None if it changed since.
    """

    status: str
    run: Run
    stored_at: datetime
    runs: list[Run]
    value: object = None
    archived_at: datetime | None = None
    forgotten: bool = False

    @property
    def message(self) -> Message:
        return self.run.message

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def was_revoked_unrun(self) -> bool:
        return self.status == "REVOKED" and self.run.worker is None

    def is_queued_again_by(self, message: Message) -> bool:
        """Return whether a message is that of a run after this end."""
        since = max(self.message.published_at, self.stored_at)
        if message.retries < self.message.retries:
            since = self.stored_at + timedelta(days=1)
        elif self.was_revoked_unrun:
            since = self.message.published_at
        return message.published_at > since


@dataclass
class Archived:
    """A row of the history."""

    result: Result
    messages: dict[int, Message]

    @property
    def day(self) -> date:
        return self.result.stored_at.date()


@dataclass
class Task:
    """A task in its three places.

    Attributes:
        message: The live message that is shown.
        messages: All live messages, by their number of retries.
    """

    message: Message | None = None
    messages: dict[int, Message] = field(default_factory=dict)
    result: Result | None = None
    archived: Archived | None = None

    @property
    def is_live(self) -> bool:
        result = self.result
        is_changed = result is not None and result.archived_at is None
        return self.message is not None or is_changed

    def shown(self) -> tuple[Result | None, dict[int, Message]]:
        """Return the result and the messages that readers see."""
        if self.is_live or self.archived is None:
            return self.result, self.messages
        return self.archived.result, self.archived.messages
