"""The Celery app of the service; `celery -A export_service` finds it here."""

from __future__ import annotations

import os

from celery import Celery

from cadasta.workertoolbox.conf import Config

#: The queues. The part of a task's name before the first dot is its queue.
QUEUES = ["export", "msg"]

_configure = Config if "WORKERTOOLBOX_BROKER_URL" in os.environ else Config.embedded

app = Celery("export", include=["export_service.export", "export_service.msg"])
app.config_from_object(
    _configure(
        QUEUES,
        # Every task may run twice, so a message is acknowledged after its task has
        # run: another worker runs the tasks of a worker that is lost.
        task_acks_late=True,
    )
)
