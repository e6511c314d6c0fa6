"""A service with tracking: `celery -A measuring.tracked tasks monitor`."""

from __future__ import annotations

from celery import Celery

from cadasta.workertoolbox.conf import Config

app = Celery("benchmark")
app.config_from_object(Config())


@app.task(name="export.project")
def project(number: int, folder: str, size: int = 1) -> dict[str, int]:
    """Do nothing, and fail twice in a hundred times."""
    if number % 50 == 3:
        raise ValueError(f"no map {number}")
    return {"rows": size}
