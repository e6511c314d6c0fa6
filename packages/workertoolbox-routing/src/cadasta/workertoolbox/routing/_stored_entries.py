"""Entries in the database of django-celery-beat that its scheduler has not loaded.

The scheduler loads a crontab with one hour only about that hour, and a clocked entry
some minutes before its time. Only beat imports this module.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

#: What selects the entries that a scheduler loads. A class derived from that of
#: django-celery-beat may replace it, for example to send only some of the entries.
_SELECTION = ("all_as_schedule", "enabled_models", "enabled_models_qs")


class StoredEntry:
    """An enabled entry, with those attributes of Celery's entries that are described.

    The class of django-celery-beat for entries is not used, because it disables entries
    whose arguments it cannot read.

    Args:
        model: A `PeriodicTask` of django-celery-beat.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.name: str = model.name
        self.task: str = model.task

    @property
    def schedule(self) -> Any:
        """The schedule of Celery. Only this entry fails if it is malformed."""
        return self.model.schedule

    @property
    def last_run_at(self) -> datetime:
        """The last run. Before the first one, the time after which it is due."""
        if (last_run_at := self.model.last_run_at) is not None:
            found: datetime = last_run_at
            return found
        changed_at: datetime = self.model.date_changed
        return max(changed_at, self.model.start_time or changed_at)

    @property
    def is_over(self) -> bool:
        """Whether the only run was sent. The scheduler disables the entry later."""
        return bool(self.model.one_off and self.model.total_run_count)


def find_stored_entries(scheduler: Any, limit: int) -> Mapping[str, StoredEntry]:
    """Return the enabled entries by name, also those that the scheduler has loaded.

    This queries the database of Django. The result is empty if the scheduler is not
    that of django-celery-beat, or selects entries in its own way.

    Args:
        scheduler: An instance of Celery's `Scheduler`.
        limit: Maximum number of entries.
    """
    module = sys.modules.get("django_celery_beat.schedulers")
    base = getattr(module, "DatabaseScheduler", None)
    if base is None or not isinstance(scheduler, base):
        return {}
    for name in _SELECTION:
        if getattr(type(scheduler), name, None) is not getattr(base, name, None):
            return {}
    models = scheduler.Model.objects.enabled()[:limit]
    return {model.name: StoredEntry(model) for model in models}
