"""A fleet that sells something: its tasks, workers and errors.

Its services are `shop`, which publishes tasks, and `billing`, with beat. Its workers
run in pods of Kubernetes.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from support.recorded_fleet import Call, RecordedFleet, task_id

#: The present of the night: a Friday, in UTC.
NOW = datetime(2026, 11, 27, 3, 12, tzinfo=UTC)

QUEUES = ("emails", "exports", "imports", "invoices", "reports")
NAMES = (
    *("emails.digest", "emails.remind", "emails.send", "exports.customer"),
    *("imports.catalog", "invoices.bundle", "invoices.charge", "invoices.close_month"),
    *("invoices.create", "invoices.render", "reports.customer", "reports.daily"),
    *("emails.clear_outbox", "reports.month"),
)

EMAILS = "celery@emails-6c5d4f7b89-q9zvx"
EXPORTS = "celery@exports-5f6c7b8d9f-k7rtz"
OTHER_EXPORTS = "celery@exports-5f6c7b8d9f-vb6xs"
OLD_EXPORTS = "celery@exports-79d8c6b5f4-w2x6m"
INVOICES = ("celery@invoices-7d9f8b6c5d-m8wqz", "celery@invoices-7d9f8b6c5d-x2k4p")
REPORTS = "celery@reports-84b6d9f5c7-hj2ls"
LEGACY = "celery@legacy-vm1"

#: Attributes of calls that workers and beat publish.
BILLING = {"service": "billing", "sender": INVOICES[0].partition("@")[2]}
BEAT_ATTRIBUTES = {"service": "billing", "sender": "billing-beat-5b8c7d9f6d-zz4kp"}

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

#: An order whose payment failed, and the customer who placed it.
ORDER, CUSTOMER = 4711, 331


def night(hour: int, minute: int = 0, second: int = 0, *, days: int = 0) -> datetime:
    """Return an instant of the night, or of that many days before."""
    at = NOW.replace(hour=hour, minute=minute, second=second)
    return at - timedelta(days=days)


class GatewayUnavailable(ConnectionError):
    """The gateway for payments does not work."""

    __module__ = "shop.gateway"


class SMTPServerDisconnected(OSError):
    """The server for mails has ended the connection."""

    __module__ = "smtplib"


def run_usual_tasks(fleet: RecordedFleet, chance: random.Random) -> None:
    """Run what the fleet runs day and night; invoices are slower on the last day."""
    for day in (2, 1):
        since = NOW - timedelta(days=day)
        slower = 1.0 if day == 2 else 1.9
        for n in range(240):
            at = since + timedelta(days=(n + chance.random() * 0.5) / 240)
            if at > NOW - 3 * MINUTE:
                break
            key, order = f"{day} {n}", ORDER - 231 - 240 * (day - 1) + n
            kwargs: dict[str, Any] = {"order_id": order, "customer_id": 100 + n}
            invoice = make_call("invoices.create", key, at, kwargs)
            run_s = chance.lognormvariate(-0.6, 0.5) * slower
            started_at = at + timedelta(seconds=0.02 + chance.random() * 0.2)
            fleet.run(invoice, chance.choice(INVOICES), started_at, run_s, order)
            ended_at = started_at + timedelta(seconds=run_s)
            kwargs = {"order_id": order, "to": f"customer{100 + n}@example.com"}
            after: Any = {"root_id": invoice.id, "parent_id": invoice.id, **BILLING}
            mail = make_call("emails.send", key, ended_at, kwargs, **after)
            wait = timedelta(seconds=0.03 + chance.random() * 0.3)
            run_s = chance.lognormvariate(-1.2, 0.4)
            fleet.publish(mail)
            fleet.run(mail, EMAILS, ended_at + wait, run_s, "sent")
            if n % 6 == 0 and at < night(2, 20):
                kwargs = {"customer_id": 100 + n, "format": "csv"}
                export = make_call("exports.customer", key, at, kwargs)
                run_s = chance.lognormvariate(3.4, 0.3)
                fleet.run(export, EXPORTS, at + wait, run_s, {"rows": 40 * n})
                fleet.publish(export)
            fleet.publish(invoice)


def make_call(
    name: str, key: object, at: datetime, kwargs: dict[str, Any], **others: Any
) -> Call:
    """Return a task; its id depends on its name and the key only."""
    return Call(id=task_id(f"{name} {key}"), name=name, kwargs=kwargs, at=at, **others)
