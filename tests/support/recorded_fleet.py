"""The monitors and workers of a fleet in this process, at times that a test sets."""

from __future__ import annotations

import json
import sqlite3
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import md5
from typing import Any

import time_machine
from celery import Celery, states
from celery.app.task import Context
from kombu.message import Message
from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

from cadasta.workertoolbox.results import database_url, open_engine
from cadasta.workertoolbox.results._headers import PUBLISHED_AT, SERVICE
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.records import Record
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

#: Seconds from the publication of a message until a monitor has read it.
COPIED_AFTER = timedelta(milliseconds=20)


def task_id(key: str) -> str:
    """Return the id of a task: a UUID as Celery makes them, the same for a key."""
    return str(uuid.UUID(bytes=md5(key.encode()).digest(), version=4))


@contextmanager
def stopped_clock(now: datetime) -> Iterator[time_machine.Traveller]:
    """Stop the clocks of Python and SQLite for the block; yield what moves them."""
    with (
        time_machine.travel(now, tick=False) as clock,
        sqlite3.connect(":memory:", check_same_thread=False) as db,
    ):

        def strftime(form: str, at: str, *modifiers: str) -> str | None:
            given = at if at != "now" else f"{datetime.now():%Y-%m-%d %H:%M:%S.%f}"
            marks = ", ".join("?" * (len(modifiers) + 2))
            query = f"SELECT strftime({marks})"
            text: str | None
            [text] = db.execute(query, (form, given, *modifiers)).fetchone()
            return text

        def connected(connection: Any, _: object) -> None:
            connection.create_function("strftime", -1, strftime)
            connection.execute("PRAGMA synchronous = OFF")  # Which is faster.

        event.listen(Pool, "connect", connected)
        try:
            yield clock
        finally:
            event.remove(Pool, "connect", connected)


def raised(error: Exception, *functions: str) -> Exception:
    """Return an error with the traceback of having been raised in a service.

    Args:
        functions: The calls that led to it, such as `shop.gateway.charge`, the one that
            raised it last.
    """
    code = "raise error"
    namespace: dict[str, Any] = {"error": error}
    for function in reversed(functions):
        module, _, name = function.rpartition(".")
        source = f"def {name}():\n    {code}"
        namespace = {**namespace, "__name__": module}
        exec(compile(source, f"/srv/{module.replace('.', '/')}.py", "exec"), namespace)
        code = f"{name}()"
    try:
        exec(code, namespace)
    except Exception as caught:
        frame = caught.__traceback__
        while frame is not None and frame.tb_frame.f_code.co_name != _name(functions):
            frame = frame.tb_next
        return caught.with_traceback(frame)
    raise ValueError("name at least one function")


def _name(functions: tuple[str, ...]) -> str:
    return functions[0].rpartition(".")[2]


@dataclass(frozen=True, kw_only=True)
class Call:
    """A task as its message describes it.

    Attributes:
        sender: The host of the publisher.
        embedded: The third part of the message's body: the steps after the task.
        headers: Headers beside those of the other attributes.
    """

    id: str
    name: str
    kwargs: Mapping[str, Any]
    at: datetime
    service: str | None = "shop"
    sender: str = "shop-6b9f7d5c48-tq8zn"
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    retries: int = 0
    eta: datetime | None = None
    embedded: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def queue(self) -> str:
        """The queue: the first part of the name."""
        return self.name.partition(".")[0]

    def message(self) -> Message:
        """Return the message, as a monitor receives it."""
        headers: dict[str, Any] = {
            **{"id": self.id, "task": self.name, "retries": self.retries},
            **{"root_id": self.root_id or self.id, "parent_id": self.parent_id},
            **{"group": self.group_id, "origin": f"gen8@{self.sender}"},
            **{PUBLISHED_AT: self.at.isoformat(), SERVICE: self.service},
            **{"eta": self.eta and self.eta.isoformat(), **self.headers},
        }
        return Message(
            body=json.dumps([[], self.kwargs, self.embedded]),
            content_type="application/json",
            content_encoding="utf-8",
            delivery_info={"routing_key": self.queue},
            headers=headers,
        )

    def request(self, worker: str) -> Context:
        """Return the request of a run."""
        values: dict[str, Any] = {
            **{"id": self.id, "task": self.name, "args": [], "kwargs": self.kwargs},
            **{"root_id": self.root_id or self.id, "parent_id": self.parent_id},
            **{"group": self.group_id, "hostname": worker, "retries": self.retries},
            **{PUBLISHED_AT: self.at.isoformat(), "eta": self.eta},
            "delivery_info": {"routing_key": self.queue},
        }
        return Context(**values)


class RecordedFleet:
    """Stores messages, states and ends as monitors, workers and archivers do.

    Args:
        app: Its result backend is a `Backend`.
        clock: What moves the stopped clock.
    """

    def __init__(self, app: Celery, clock: time_machine.Traveller) -> None:
        assert isinstance(app.backend, Backend)
        self._backend = app.backend
        self._clock = clock
        self._records: list[Record] = []
        self.engine: Engine = open_engine(database_url(app.conf.result_backend))

    def publish(self, call: Call) -> Call:
        """Read the copy of a message."""
        seen_at = call.at + COPIED_AFTER
        self._records.append(read_task(call.message(), seen_at=seen_at))
        return call

    def quarantine(self, message: Message, *, at: datetime) -> None:
        """Read the copy of a message that is not readable."""
        try:
            read_task(message, seen_at=at)
        except UnreadableMessage as error:
            found = quarantine_record(message, reason=str(error), seen_at=at)
            self._records.append(found)

    def start(self, call: Call, worker: str, at: datetime) -> Context:
        """Store the start of a run that does not end."""
        request = self._begin(call, worker, at)
        self._backend.store_pending_start(call.id)
        return request

    def run(
        self,
        call: Call,
        worker: str,
        at: datetime,
        run_s: float,
        result: object = None,
        *,
        state: str = states.SUCCESS,
    ) -> None:
        """Store the start and the end of a run.

        Args:
            result: An exception, unless it succeeds.
        """
        request = self._begin(call, worker, at)
        self._clock.move_to(at + timedelta(seconds=run_s))
        lines = isinstance(result, Exception) and traceback.format_exception(result)
        text = "".join(lines) if lines else None
        self._backend.store_result(call.id, result, state, text, request=request)

    def run_until_success(
        self, call: Call, workers: list[str], errors: list[Exception], *, gap_s: float
    ) -> None:
        """Store a run for each error, each followed by a retry, and a success.

        Args:
            workers: The worker of each run.
            gap_s: Seconds from a failure to the ETA of the retry.
        """
        for retries, (worker, error) in enumerate(zip(workers, errors, strict=False)):
            at = (call.eta or call.at) + timedelta(milliseconds=90)
            self.run(call, worker, at, 5.0, error, state=states.RETRY)
            ended_at = at + timedelta(seconds=5)
            eta = ended_at + timedelta(seconds=gap_s)
            call = replace(call, at=ended_at, eta=eta, retries=retries + 1)
            self.publish(call)
        at = (call.eta or call.at) + timedelta(milliseconds=90)
        self.run(call, workers[len(errors)], at, 0.4, "sent")

    def _begin(self, call: Call, worker: str, at: datetime) -> Context:
        self._clock.move_to(at)
        request = call.request(worker)
        meta = {"pid": 9, "hostname": worker}
        self._backend.store_result(call.id, meta, states.STARTED, request=request)
        return request

    def flush(self) -> None:
        """Store the messages that were read, in one batch."""
        with self.engine.begin() as connection:
            write_batch(connection, self._records)
        self._records.clear()

    def archive(self, at: datetime) -> None:
        """Report the progress of two monitors, and archive what has ended."""
        self._clock.move_to(at)
        self.flush()
        with self.engine.begin() as connection:
            for monitor in ("a", "b"):
                report_progress(connection, monitor, read_until=at, now=at)
        archiving = Archiving(self.engine, ArchiveOptions(), should_stop=lambda: False)
        archiving.run_once()
