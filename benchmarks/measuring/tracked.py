"""A service with tracking: `celery -A measuring.tracked tasks monitor`."""

from __future__ import annotations

from celery import Celery

from cadasta.workertoolbox.conf import Config

app = Celery("benchmark")
app.config_from_object(Config())
