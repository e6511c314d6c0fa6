"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class WorkertoolboxConfig(AppConfig):
    """The app in `INSTALLED_APPS`; `tasks upgrade` creates its tables."""

    name = "cadasta.workertoolbox.results.django"
    label = "workertoolbox"
    verbose_name = "Celery tasks"
