"""Web pages about the tasks in a results database.

A page for a Starlette, FastAPI or Django application, under a path of its own::

    from cadasta.workertoolbox.results import TaskStore
    from cadasta.workertoolbox.results.web import create_app

    app.mount("/tasks", create_app(TaskStore("postgresql+psycopg2://reader@db/workers")))

`celery -A proj tasks web` and `python -m cadasta.workertoolbox.results.web URL` serve
the same pages. They need `pip install "workertoolbox-results[web]"`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cadasta.workertoolbox.results.web.serving.extra import installed_extra

if TYPE_CHECKING:
    from cadasta.workertoolbox.results.web.access.logins import (
        AppLogin,
        PasswordLogin,
        ProxyLogin,
    )
    from cadasta.workertoolbox.results.web.app import create_app
    from cadasta.workertoolbox.results.web.operating.operator import Operator

__all__ = ["AppLogin", "Operator", "PasswordLogin", "ProxyLogin", "create_app"]

_MODULES = {
    "AppLogin": "access.logins",
    "Operator": "operating.operator",
    "PasswordLogin": "access.logins",
    "ProxyLogin": "access.logins",
    "create_app": "app",
}


def __getattr__(name: str) -> Any:
    # Imported when they are used, so that the options of `tasks web` are known, and say
    # what is missing, where the extra is not installed.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with installed_extra():
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
