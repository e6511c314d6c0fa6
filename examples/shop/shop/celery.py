"""The Celery app: `celery -A shop`."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("cadasta.workertoolbox.conf.django:settings", namespace="CELERY")
app.autodiscover_tasks()
