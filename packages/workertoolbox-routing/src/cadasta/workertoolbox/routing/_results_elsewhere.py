"""Whether an app stores its results outside the database of the toolbox."""

from __future__ import annotations

from typing import Any

#: Schemes of result backends that write to tables which monitors may read: that of the
#: toolbox, and those of Celery's own backend for the same tables.
_READ = ("workertoolbox", "db", "database", "sqla", "sqlalchemy")

#: Names of backends that are no URL. Others are classes, which may be anything.
_NAMES = frozenset({"cache", "disabled", "django-cache", "django-db", "rpc"})


def results_elsewhere(result_backend: Any) -> str | None:
    """Return the kind of a result backend whose results no monitor sees.

    Args:
        result_backend: Celery's setting. Without one, workers store no results.

    Returns:
        The scheme of its URL, without anything secret, or its name. None if monitors
        may see its results, or if that is not known.
    """
    if not result_backend:
        return "disabled"
    text = str(result_backend)
    kind, is_url, _ = text.partition("://")
    if not is_url:
        return text if text in _NAMES else None
    return None if kind.partition("+")[0] in _READ else kind
