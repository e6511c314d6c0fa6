"""The tasks of the shop. The first part of a name is the queue."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from celery.contrib.django.task import DjangoTask
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F
from django.utils.timezone import now

from orders.models import Order, Product


class OutOfStock(Exception):
    """There is less of a product than somebody has ordered."""


@shared_task(name="orders.reserve", base=DjangoTask)
def reserve(order_id: int) -> int:
    """Take an order from the stock, and return what is left."""
    with transaction.atomic():
        order = Order.objects.select_related("product").get(pk=order_id)
        stocked = Product.objects.filter(pk=order.product.pk, stock__gte=order.amount)
        if not stocked.update(stock=F("stock") - order.amount):
            raise OutOfStock(f"{order.amount} × {order.product.name}")
        Order.objects.filter(pk=order_id).update(is_reserved=True)
    order.product.refresh_from_db()
    return int(order.product.stock)


@shared_task(name="mail.confirm")
def confirm(order_id: int) -> None:
    """Confirm an order by mail."""
    order = Order.objects.select_related("product").get(pk=order_id)
    text = f"We have reserved {order.amount} × {order.product.name} for you."
    send_mail(f"Order {order_id}", text, settings.SENDER, [order.email])


@shared_task(name="mail.report")
def report() -> int:
    """Mail the number of orders of the last day to the manager, and return it."""
    orders = Order.objects.filter(placed_at__gte=now() - timedelta(days=1))
    text = f"Orders of the last day: {orders.count()}"
    send_mail("Nightly report", text, settings.SENDER, [settings.MANAGER])
    return len(orders)
