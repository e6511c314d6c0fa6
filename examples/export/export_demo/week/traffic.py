"""What the shop runs day and night, and the errors that come with it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from export_demo.week.calls import Call, new_id
from export_demo.week.clock import Clock
from export_demo.week.failures import (
    Failure,
    broken_image,
    no_mail_server,
    no_tax_id,
    refused_charge,
    stale_index,
)
from export_demo.week.fleet import Job

#: Tasks on a day.
ORDERS, IMAGES, PRODUCTS, UPLOADS = 430, 380, 470, 3

#: The last orders; one customer has typed something else than a name.
NAMES = ("Ada", "Björk", "Chidi", "Dörte", "Esra", "<b>Frank</b>", "Grace", "Ichirō")

#: The release that a service says it has, before and after the last deployment.
RELEASES = ("2026.46", "2026.47")


def usual_jobs(clock: Clock, share: float) -> Iterator[Job]:
    """Yield the jobs of the whole week, or a share of them."""
    chance = clock.chance
    for n, at in enumerate(clock.times(int(share * ORDERS))):
        yield _order(clock, 41_000 + n, at)
    for at in clock.times(int(share * IMAGES)):
        yield _image(chance, at)
    for n, at in enumerate(clock.times(int(share * PRODUCTS))):
        yield _product(clock, 7_000 + n % 900, at)
    for at in clock.times(UPLOADS):
        # A supplier uploads a catalogue: more pictures than the workers can scale.
        for _ in range(int(share * 90)):
            yield _image(chance, at)

    yield from _troubled_jobs(clock)


def _troubled_jobs(clock: Clock) -> Iterator[Job]:
    """Yield some jobs at the times when errors occur; see `_invoice_error`."""
    for n in range(14):  # While the gateway is down.
        at = clock.ago(hours=2, minutes=16) + n * timedelta(minutes=2.5)
        yield _order(clock, 45_000 + n, at)
    for hours in (150, 120, 90, 6, 2.7):  # A customer without a tax id.
        yield _order(clock, 97 * 500 + 45, clock.ago(hours=hours))
    for n in range(30):  # Since documents are refused.
        yield _product(clock, 7_000 + n, clock.ago(hours=4.8 - 0.15 * n))


def _order(clock: Clock, order: int, at: datetime) -> Job:
    chance = clock.chance
    customer = 300 + order % 97
    mail = {"order_id": order, "to": f"customer{customer}@example.com"}
    call = Call(
        id=new_id(chance),
        name="orders.confirm",
        at=at,
        kwargs={"order_id": order, "customer": NAMES[order % len(NAMES)]},
        headers={"release": RELEASES[at > clock.ago(hours=30)]},
    )

    def charge(ended_at: datetime) -> Iterable[Job]:
        yield _step(
            *(chance, call, call, "invoices.create", ended_at),
            {"order_id": order, "customer_id": customer},
            run_s=chance.lognormvariate(-0.9, 0.5),
            result={"invoice": f"R-{order}"},
            failure=lambda at: _invoice_error(clock, order, customer, at),
            then=send,
        )

    def send(ended_at: datetime) -> Iterable[Job]:
        yield _step(
            *(chance, call, call, "emails.send", ended_at, mail),
            run_s=chance.lognormvariate(-1.3, 0.4),
            result="sent",
            failure=lambda at: _mail_error(clock, order, at),
            max_retries=3,
        )

    run_s = chance.lognormvariate(-2.6, 0.6)
    return Job(call=call, run_s=run_s, result={"order_id": order}, then=charge)


def _step(
    chance: random.Random,
    root: Call,
    parent: Call,
    name: str,
    at: datetime,
    kwargs: dict[str, Any],
    **others: Any,
) -> Job:
    call = Call(
        id=new_id(chance),
        name=name,
        at=at,
        kwargs=kwargs,
        host="orders-7d9f8b6c5d-m8wqz",
        root_id=root.id,
        parent_id=parent.id,
    )
    return Job(call=call, **others)


def _invoice_error(
    clock: Clock, order: int, customer: int, at: datetime
) -> Failure | None:
    """Fail while the gateway is down, and for customers without a tax id."""
    if clock.ago(hours=2, minutes=20) < at < clock.ago(hours=1, minutes=35):
        return refused_charge(order) if order % 3 else None
    was_mended = clock.ago(hours=74) < at < clock.ago(hours=9)
    return no_tax_id(customer) if customer == 345 and not was_mended else None


def _mail_error(clock: Clock, order: int, at: datetime) -> Failure | None:
    """Fail now and then, and always while the mail server was down."""
    is_down = clock.ago(days=2, hours=5) < at < clock.ago(days=2, hours=4, minutes=50)
    return no_mail_server() if is_down or order % 61 == 0 else None


def _image(chance: random.Random, at: datetime) -> Job:
    file = f"/media/products/{chance.randrange(10_000, 99_999)}.jpg"
    is_broken = chance.random() < 0.012
    return Job(
        call=Call(
            id=new_id(chance),
            name="images.resize",
            at=at,
            args=[file],
            kwargs={"widths": [320, 960, 1920]},
            service="catalog",
            host="catalog-58d4f7b6c9-r2vzs",
        ),
        run_s=chance.lognormvariate(0.3, 0.6),
        result={"files": 3},
        failure=lambda at: broken_image(file) if is_broken else None,
    )


def _product(clock: Clock, product: int, at: datetime) -> Job:
    """Index a product; since the last release, some documents are refused."""
    chance = clock.chance
    is_refused = at > clock.ago(hours=5) and chance.random() < 0.22
    return Job(
        call=Call(
            id=new_id(chance),
            name="search.index",
            at=at,
            args=[product],
            service="catalog",
            host="catalog-58d4f7b6c9-r2vzs",
        ),
        run_s=chance.lognormvariate(-2.9, 0.5) * (4 if is_refused else 1),
        failure=lambda at: stale_index(product) if is_refused else None,
    )
