"""The tasks of the service."""

from __future__ import annotations

from typing import Any

from celery import Task, chord

from invoices import post
from invoices.app import app

#: Seconds between two attempts to send a mail.
RETRY_S = 0.1


@app.task(name="invoices.price")
def price(amount: int, cents: int) -> int:
    """Return the price in cents of one line of an order."""
    return amount * cents


@app.task(name="invoices.write")
def write(prices: list[int]) -> str:
    """Return the text of an invoice over some prices in cents."""
    return f"{len(prices)} items, {sum(prices) / 100:.2f}"


@app.task(name="mail.send", bind=True, max_retries=5)
def send(self: Task[Any, Any], text: str, address: str) -> str:
    """Send an invoice, and return its text."""
    try:
        post.deliver(address, text)
    except OSError as error:
        raise self.retry(exc=error, countdown=RETRY_S) from error
    return text


def bill(order: list[tuple[int, int]], address: str) -> Any:
    """Schedule an invoice, and return the result of its last task.

    Args:
        order: An amount and a price in cents for each line.
    """
    lines = [price.s(amount, cents) for amount, cents in order]
    return chord(lines)(write.s() | send.s(address))
