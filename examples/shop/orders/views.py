"""The views of the shop."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from orders.models import Order, Product
from orders.tasks import confirm, reserve


@csrf_exempt
@require_POST
@transaction.atomic
def place(request: HttpRequest) -> JsonResponse:
    """Place an order. Its tasks are sent when the order is in the database."""
    order = Order.objects.create(
        product=get_object_or_404(Product, name=request.POST["product"]),
        amount=int(request.POST["amount"]),
        email=request.POST["email"],
    )
    reserve.apply_async_on_commit(
        (order.pk,), task_id=str(order.task_id), link=confirm.si(order.pk)
    )
    return JsonResponse({"order": order.pk, "task": order.task_id}, status=202)
