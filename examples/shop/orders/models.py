"""Products and their orders."""

from __future__ import annotations

from uuid import uuid4

from django.db import models


class Product(models.Model):
    """Something that the shop sells."""

    name = models.CharField(max_length=100, unique=True)
    stock = models.PositiveIntegerField()


class Order(models.Model):
    """An order of one product. `task_id` is the id of the task that reserves it."""

    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    amount = models.PositiveIntegerField()
    email = models.EmailField()
    placed_at = models.DateTimeField(auto_now_add=True)
    is_reserved = models.BooleanField(default=False)
    task_id = models.UUIDField(default=uuid4, editable=False)
