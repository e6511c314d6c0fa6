"""What fails in the night of `sample_night.py`, and in the days before."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from celery import states
from sqlalchemy import insert

from cadasta.workertoolbox.results._database.tables import operation, operation_task
from cadasta.workertoolbox.results._headers import RERUN
from cadasta.workertoolbox.results._reruns.messages import new_id
from support.recorded_fleet import Call, RecordedFleet, raised
from support.shop_fleet import (
    CUSTOMER,
    EMAILS,
    EXPORTS,
    HOUR,
    INVOICES,
    MINUTE,
    NOW,
    OLD_EXPORTS,
    ORDER,
    GatewayUnavailable,
    SMTPServerDisconnected,
    make_call,
    night,
)


def refuse_mails(fleet: RecordedFleet) -> None:
    """Retry mails, because their server ends connections from time to time."""

    def error() -> Exception:
        found = SMTPServerDisconnected("connection unexpectedly closed")
        return raised(found, "shop.emails.send", "shop.smtp.deliver")

    for n, hours in enumerate((71, 50, 43, 31, 22, 15, 9, 3, 0.6)):
        order = ORDER - 2 - n
        mail = make_call(
            *("emails.send", f"retried {n}", NOW - hours * HOUR),
            {"order_id": order, "to": f"buyer{n}@example.com"},
        )
        fleet.publish(mail)
        errors = [error() for _ in range(1 + n // 8)]
        fleet.run_until_success(mail, [EMAILS] * 3, errors, gap_s=60)


def lack_tax_ids(fleet: RecordedFleet) -> None:
    """Fail exports of customers without a VAT id."""
    for n, hours in enumerate((40, 30, 22)):
        _lack_tax_id(fleet, n, NOW - hours * HOUR)


def lack_a_tax_id_again(fleet: RecordedFleet) -> None:
    """Fail such an export after the repair."""
    _lack_tax_id(fleet, 3, night(1, 40, 12))


def _lack_tax_id(fleet: RecordedFleet, n: int, at: datetime) -> None:
    kwargs = {"customer_id": 700 + n, "format": "datev"}
    export = make_call("exports.customer", f"no tax id {n}", at, kwargs)
    fleet.publish(export)
    functions = ("shop.exports.customer", "shop.datev.address")
    error = raised(KeyError("vat_id"), *functions)
    started_at = at + timedelta(milliseconds=300)
    fleet.run(export, EXPORTS, started_at, 2.4, error, state=states.FAILURE)


def lose_an_export(fleet: RecordedFleet) -> None:
    """Start an export on a pod that is killed."""
    at = night(19, 44, days=1)
    kwargs = {"customer_id": 655, "format": "csv"}
    export = fleet.publish(make_call("exports.customer", "lost", at, kwargs))
    fleet.start(export, OLD_EXPORTS, at + timedelta(seconds=1))


def run_an_export_twice(fleet: RecordedFleet) -> None:
    """Run an export again, because its first worker was killed."""
    at = night(19, 40, days=1)
    kwargs = {"customer_id": 640, "format": "csv"}
    export = fleet.publish(make_call("exports.customer", "twice", at, kwargs))
    fleet.start(export, OLD_EXPORTS, at + timedelta(seconds=2))
    fleet.run(export, EXPORTS, at + 12 * MINUTE, 31.0, {"rows": 900})


def _gateway_error(answer: str, function: str) -> Exception:
    text = f"https://pay.example.com {answer}"
    functions = ("shop.invoices.charge", f"shop.gateway.{function}")
    return raised(GatewayUnavailable(text), *functions)


def _charge(key: object, at: datetime, order: int, customer: int) -> Call:
    kwargs = {"order_id": order, "customer_id": customer, "amount": "49.90"}
    return make_call("invoices.charge", key, at, kwargs)


def refuse_charges(fleet: RecordedFleet) -> None:
    """Charge orders; the gateway refuses most of them since 02:31."""
    for n in range(40):
        at = night(1, 5) + n * timedelta(seconds=190)
        is_refused = at >= night(2, 31) and n % 4 != 3
        order = ORDER - 34 + n
        customer = CUSTOMER if order == ORDER else 200 + n
        call = fleet.publish(_charge(n, at, order, customer))
        started_at = at + timedelta(milliseconds=40 + n)
        if is_refused:
            error = _gateway_error("answered 503", "post")
            failed = states.FAILURE
            fleet.run(call, INVOICES[n % 2], started_at, 10.1, error, state=failed)
        else:
            fleet.run(call, INVOICES[n % 2], started_at, 0.8 + n / 100, "paid")


def rerun_charges(fleet: RecordedFleet) -> None:
    """Fail three charges two days before, and run them again by hand."""
    key, at = "5d1f0c7a9b3e", night(18, 5, days=2)
    rows = []
    for n in range(3):
        failed_at = night(17, 20 + n, days=2)
        call = fleet.publish(_charge(f"failed {n}", failed_at, 4580 + n, 380 + n))
        worker, started_at = INVOICES[0], failed_at + timedelta(milliseconds=50)
        error = _gateway_error("refused the connection", "connect")
        fleet.run(call, worker, started_at, 9.7, error, state=states.FAILURE)
        id = new_id(key, call.id)
        header = {RERUN: {"of": call.id, "id": id, "operation": key}}
        again_at = at + timedelta(seconds=n / 10)
        again = replace(call, id=id, at=again_at, headers=header)
        fleet.publish(again)
        fleet.run(again, worker, again_at + timedelta(milliseconds=50), 0.9, "paid")
        rows.append(
            {
                **{"operation_id": key, "task_id": call.id, "position": n},
                **{"name": call.name, "new_id": id, "state": "published"},
                "changed_at": again_at,
            }
        )
    values = {
        **{"id": key, "kind": "rerun", "made_by": "ann@laptop", "tasks": len(rows)},
        **{"reason": "the gateway was down", "started_at": at, "finished_at": at},
        "selection": "name:invoices.charge status:failure",
    }
    with fleet.engine.begin() as connection:
        connection.execute(insert(operation), values)
        connection.execute(insert(operation_task), rows)
