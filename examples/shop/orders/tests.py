"""The tasks of the shop, run by a real worker: `python manage.py test`."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

from django.contrib.auth.models import User
from django.core import mail
from django.test import TransactionTestCase

from cadasta.workertoolbox.conf.testing import (
    assert_tracked,
    embedded,
    running_monitor,
    running_worker,
)
from orders.models import Order, Product
from orders.tasks import OutOfStock
from shop.celery import app


class OrderTest(TransactionTestCase):
    """Tests that share a worker and a monitor."""

    @classmethod
    def setUpClass(cls) -> None:
        """Start the worker and the monitor."""
        super().setUpClass()
        folder = cls.enterClassContext(TemporaryDirectory())
        for context in (embedded(app, folder), running_worker(app)):
            cls.enterClassContext(context)
        cls.enterClassContext(running_monitor(app))

    def setUp(self) -> None:
        """Put something into the stock."""
        self.tea = Product.objects.create(name="tea", stock=10)

    def place(self, amount: int) -> Any:
        """Place an order, and return the result of its first task."""
        order = {"product": "tea", "amount": amount, "email": "ada@example.org"}
        response = self.client.post("/orders/", order)
        return app.AsyncResult(response.json()["task"])

    def test_an_order_is_reserved_and_confirmed_by_mail(self) -> None:
        reserved = self.place(3)

        self.assertEqual(reserved.get(timeout=10), 7)
        [confirmed] = reserved.children
        confirmed.get(timeout=10)
        self.assertTrue(Order.objects.get().is_reserved)
        self.assertEqual([each.to for each in mail.outbox], [["ada@example.org"]])
        [task] = assert_tracked(app, confirmed)
        self.assertEqual((task.queue, task.parent_id), ("mail", reserved.id))

    def test_nothing_is_sent_for_an_order_that_is_rolled_back(self) -> None:
        response = self.client.post("/orders/", {"product": "coffee", "amount": 1})

        self.assertEqual((response.status_code, Order.objects.count()), (404, 0))

    def test_staff_sees_why_an_order_failed(self) -> None:
        failed = self.place(11)

        with self.assertRaises(OutOfStock):
            failed.get(timeout=10)
        assert_tracked(app, failed)
        self.client.force_login(User.objects.create_superuser("ada"))
        listed = self.client.get("/admin/workertoolbox/task/?status=FAILURE")
        shown = self.client.get(f"/tasks/tasks/{failed.id}")
        self.assertContains(listed, failed.id)
        self.assertContains(shown, "11 × tea")

    def test_the_report_of_the_night_counts_the_orders_of_the_day(self) -> None:
        self.place(1).get(timeout=10)
        name = app.conf.beat_schedule["nightly report"]["task"]

        self.assertEqual(app.send_task(name).get(timeout=10), 1)
        self.assertIn("Nightly report", mail.outbox[-1].subject)
