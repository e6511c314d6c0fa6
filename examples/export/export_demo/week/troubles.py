"""What goes wrong beside errors: tasks that wait, hang, expire or are not tracked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from celery import states
from kombu.message import Message

from cadasta.workertoolbox.results._database.statuses import LOST
from cadasta.workertoolbox.results._headers import RERUN
from export_demo.week.calls import Call, new_id
from export_demo.week.clock import HOUR, MINUTE, Clock
from export_demo.week.fleet import Job, Run

#: The end of a task that was revoked before it ran.
REVOKED = {
    "exc_type": "TaskRevokedError",
    "exc_message": ["revoked"],
    "exc_module": "celery.exceptions",
}


def troubled_jobs(clock: Clock) -> Iterator[Job]:
    """Yield jobs that do not go their usual way."""
    yield from _waiting_jobs(clock)
    yield from _slow_pictures(clock)
    for n in range(9):  # A service that does not send copies of its messages.
        at = clock.ago(hours=160) + n * 19 * HOUR
        id = new_id(clock.chance)
        call = Call(id=id, name="legacy.sync", at=at, service=None, host="vm1")
        yield Job(call=call, run_s=4.2 + n, result=n, tracked=False)


def _waiting_jobs(clock: Clock) -> Iterator[Job]:
    """Yield tasks of a queue that nothing consumes, and mails for later."""
    chance = clock.chance
    for n in range(5):
        kwargs: dict[str, Any] = {"supplier": f"supplier-{n + 1}", "rows": 1200 + n}
        at = clock.ago(hours=9.2) + n * 1.9 * HOUR
        call = Call(id=new_id(chance), name="imports.catalog", at=at, kwargs=kwargs)
        yield Job(call=call, run_s=1.0)
    for n in range(14):
        at, eta = clock.ago(minutes=20 + 31 * n), clock.now + (1 + 1.7 * n) * HOUR
        kwargs = {"order_id": 44_000 + n}
        id = new_id(chance)
        call = Call(id=id, name="emails.remind", at=at, kwargs=kwargs, eta=eta)
        yield Job(call=call, run_s=0.2)


def _slow_pictures(clock: Clock) -> Iterator[Job]:
    """Yield two pictures whose tasks hang, and a catalogue that was just uploaded."""

    def call(at: datetime, number: int) -> Call:
        args = [f"/media/products/{number}.tiff"]
        id = new_id(clock.chance)
        return Call(id=id, name="images.resize", at=at, args=args, service="catalog")

    for n, minutes in enumerate((64, 47)):
        at = clock.ago(minutes=minutes)
        yield Job(call=call(at, 70_000 + n), run_s=1.0, hangs=True)
    for n in range(160):
        at = clock.ago(seconds=100 - n / 4)
        run_s = clock.chance.lognormvariate(1.0, 0.6)
        yield Job(call=call(at, 20_000 + n), run_s=run_s, result={"files": 3})


def troubled_runs(clock: Clock) -> Iterator[Run]:
    """Yield runs that no worker has ended, and tasks that were never run."""
    chance = clock.chance
    for n in range(4):  # Revoked before a worker had them.
        at = clock.ago(hours=30 + 7 * n)
        call = Call(id=new_id(chance), name="export.project", at=at)
        yield Run(call, None, None, at + 3 * MINUTE, states.REVOKED, REVOKED)
    for n in range(2):  # Expired in a queue that nothing consumes.
        at = clock.ago(hours=6 + 20 * n)
        expires = (at + HOUR).isoformat()
        yield Run(
            Call(
                id=new_id(chance),
                name="imports.stock",
                at=at,
                headers={"expires": expires},
            )
        )
    at = clock.ago(hours=44)  # Its worker was killed.
    call = Call(id=new_id(chance), name="images.resize", at=at, service="catalog")
    lost_at = at + 6 * HOUR
    worker = "celery@images-5d8b7c6f9d-old12"
    began = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    reason = f"lost: started at {began}, and {worker} stores nothing any more"
    yield Run(call, worker, at + timedelta(seconds=1), lost_at, LOST, reason)


def unreadable_messages(clock: Clock) -> Sequence[tuple[Message, datetime]]:
    """Return messages that a monitor puts into quarantine, and when it saw them."""
    chance = clock.chance
    given: Sequence[tuple[Any, str, dict[str, Any], float]] = (
        (
            b"\x80\x04\x95\x1e\x00\x00\x00]\x94(\x8c\x06legacy",
            "application/x-python-serialize",
            {"id": new_id(chance), "task": "legacy.sync"},
            52.0,
        ),
        (
            '[[4711], {"customer": "Ada"',
            "application/json",
            {"id": new_id(chance), "task": "orders.confirm"},
            27.5,
        ),
        (
            "[[], {}, {}]",
            "application/json",
            {"id": 5, "task": "emails.send", "note": "<script>alert(1)</script>"},
            4.0,
        ),
        ("<order id='1'/>", "application/xml", {"sender": "erp"}, 0.6),
    )
    return [
        (
            Message(
                body=body,
                content_type=content_type,
                content_encoding="binary" if isinstance(body, bytes) else "utf-8",
                delivery_info={"routing_key": "orders"},
                headers=headers,
            ),
            clock.ago(hours=hours),
        )
        for body, content_type, headers, hours in given
    ]


@dataclass(frozen=True, slots=True)
class Rerun:
    """Tasks that were run again by hand, and the operation that did so.

    Attributes:
        id: The key of the operation.
        at: When it began.
        failed: The runs that were repeated.
        repeated: The runs that repeated them.
    """

    id: str
    at: datetime
    failed: Sequence[Run]
    repeated: Sequence[Run]

    @classmethod
    def of(cls, clock: Clock, runs: Sequence[Run], *, id: str, at: datetime) -> Rerun:
        """Return the rerun of the last failed invoices."""
        failed = [
            run
            for run in runs
            if run.call.name == "invoices.create" and run.state == states.FAILURE
        ][-8:]
        repeated = []
        for n, run in enumerate(failed):
            new = new_id(clock.chance)
            header = {RERUN: {"of": run.call.id, "id": new, "operation": id}}
            published_at = at + timedelta(seconds=n / 10)
            call = replace(
                run.call, id=new, at=published_at, headers=header, root_id=None
            )
            started_at = published_at + timedelta(milliseconds=60)
            ended_at = started_at + timedelta(seconds=0.7)
            result = {"invoice": f"R-{call.kwargs['order_id']}"}
            repeated.append(
                Run(call, run.worker, started_at, ended_at, states.SUCCESS, result)
            )
        return cls(id, at, failed, repeated)

    def operation(self) -> Mapping[str, Any]:
        """Return the row of the operation."""
        return {
            **{"id": self.id, "kind": "rerun", "made_by": "ann@laptop"},
            **{"reason": "the payment gateway was down", "tasks": len(self.failed)},
            **{"started_at": self.at, "finished_at": self.at + timedelta(seconds=2)},
            "selection": "name:invoices.create status:failure",
        }

    def tasks(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows of its tasks."""
        pairs = zip(self.failed, self.repeated, strict=True)
        return [
            {
                **{"operation_id": self.id, "task_id": failed.call.id, "position": n},
                **{"name": failed.call.name, "new_id": again.call.id},
                **{"state": "published", "changed_at": again.call.at},
            }
            for n, (failed, again) in enumerate(pairs)
        ]
