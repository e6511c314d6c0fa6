"""What the workers run: `celery -A measuring.service worker`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from celery.signals import task_postrun

from measuring.finished import appender
from measuring.tasks import make_app

app = make_app(json.loads(os.environ["BENCHMARK_SETTINGS"]))

_append = appender(Path(os.environ["BENCHMARK_FINISHED"]))


@task_postrun.connect
def _note(**_: object) -> None:
    # Celery sends this signal after the result is stored.
    _append()
