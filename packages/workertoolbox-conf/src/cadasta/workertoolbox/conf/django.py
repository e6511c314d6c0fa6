"""The configuration of a Django project, from its settings.

In `celery.py`, in the place of `django.conf:settings`::

    app = Celery("shop")
    app.config_from_object(
        "cadasta.workertoolbox.conf.django:settings", namespace="CELERY"
    )

Variables of the toolbox are `WORKERTOOLBOX_…` in the settings, and settings of Celery's
`CELERY_…`. It needs `pip install "workertoolbox-conf[django]"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings as _settings

from cadasta.workertoolbox.conf._config import Config
from cadasta.workertoolbox.conf._django_variables import (
    KEYWORDS,
    PREFIX,
    describe,
    find_database,
    read_variables,
)
from cadasta.workertoolbox.conf._errors import MissingQueues, UnknownSetting
from cadasta.workertoolbox.conf._settings.celery import SETTINGS
from cadasta.workertoolbox.conf._settings.environment import read_environment
from cadasta.workertoolbox.conf._settings.names import MISSPELLED, OLD_NAMES
from cadasta.workertoolbox.conf._settings.variables import ENV_PREFIX, FOLDER
from cadasta.workertoolbox.routing import UndeclaredQueues, find_similar

if TYPE_CHECKING:
    settings: Config

__all__ = ["read_settings", "settings"]

#: A setting that Celery only finds if it reads Django's settings itself.
_REUSE = "db_reuse_max"


def __getattr__(name: str) -> Any:
    # Read when Celery needs it: the settings may import the module of the app.
    if name == "settings":
        return read_settings()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def read_settings(namespace: str = "CELERY") -> Config:
    """Return the configuration that the settings of a Django project describe.

    Results are stored in `DATABASES["default"]`, or in the database that
    `WORKERTOOLBOX_DATABASE` names, unless `CELERY_RESULT_BACKEND`, a `RESULT_DB_…`
    variable or the environment names another one. With `WORKERTOOLBOX_FOLDER`, the
    broker is in that folder, as with `Config.embedded`.

    Args:
        namespace: The prefix of the settings for Celery, without the `_`.

    Raises:
        MissingQueues: Neither the settings nor the environment name a queue.
        UnknownSetting: Settings with one of the prefixes are unknown. The error lists
            all of them.
        UndeclaredQueues: Routes name queues that are not in the list.
        InvalidURL: The database is neither PostgreSQL nor SQLite.
        ConfError: As for `Config`, like its other errors.
    """
    keywords, problems = read_variables(_settings, namespace)
    own, unknown = _celery_settings(namespace)
    if problems := unknown + problems:
        raise UnknownSetting("; ".join(problems))
    keywords |= own
    prefix = keywords.get(ENV_PREFIX.name, ENV_PREFIX.default)
    if "QUEUES" not in {*keywords, *read_environment(prefix)}:
        raise MissingQueues(
            "WORKERTOOLBOX_QUEUES is not in the settings of Django; list the queues, "
            'as in ["orders", "mail"], or write ["celery"] for one queue'
        )
    keywords |= find_database(keywords)
    make = Config.embedded if FOLDER.name in keywords else Config
    try:
        return make(**keywords)
    except UndeclaredQueues as error:
        raise error.written_as(
            queues_setting=f"{PREFIX}QUEUES",
            routes_setting=f"{namespace}_TASK_ROUTES",
        ) from None


def _celery_settings(namespace: str) -> tuple[dict[str, Any], list[str]]:
    """Return the settings for Celery, and what is wrong with unknown names."""
    found: dict[str, Any] = {}
    problems = []
    for name in sorted(dir(_settings)):
        if not name.startswith(f"{namespace}_"):
            continue
        setting = name.removeprefix(f"{namespace}_").lower()
        if problem := _unknown_setting(setting, namespace):
            problems.append(describe(name, problem))
        else:
            found[setting] = getattr(_settings, name)
    return found, problems


def _unknown_setting(setting: str, namespace: str) -> str | None:
    """Return what is wrong with the name of a setting for Celery, if anything is.

    A name that is not similar to any of Celery's is the user's own setting, as for
    `Config`.
    """
    if setting == _REUSE:
        return "has no effect with the toolbox; remove it"
    if setting.upper() in KEYWORDS:
        return f"is a variable of the toolbox; write '{PREFIX}{setting.upper()}'"
    if setting in SETTINGS:
        return None
    if new := OLD_NAMES.get(f"CELERY_{setting.upper()}"):
        return f"is an old name; write '{namespace}_{new.upper()}'"
    if similar := find_similar(setting, SETTINGS, similarity=MISSPELLED):
        return (
            "is not a setting of Celery's; did you mean "
            f"'{namespace}_{similar.upper()}'?"
        )
    return None
