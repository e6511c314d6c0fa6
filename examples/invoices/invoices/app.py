"""The Celery app of the service: `celery -A invoices.app`."""

from __future__ import annotations

from celery import Celery

from cadasta.workertoolbox.conf import Config

app = Celery("invoices", include=["invoices.tasks"])
app.config_from_object(Config(queues=["invoices", "mail"], task_acks_late=True))
