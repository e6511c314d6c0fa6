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
from cadasta.workertoolbox.conf._errors import MissingQueues, UnknownSetting
from cadasta.workertoolbox.conf._settings.celery import SETTINGS
from cadasta.workertoolbox.conf._settings.environment import read_environment
from cadasta.workertoolbox.conf._settings.names import MISSPELLED, OLD_NAMES
from cadasta.workertoolbox.conf._settings.variables import (
    DATABASE_VARIABLES,
    ENV_PREFIX,
    FOLDER,
    QUEUE_TYPE,
    VARIABLES,
)
from cadasta.workertoolbox.results.django.database import SETTING, result_backend
from cadasta.workertoolbox.routing import find_similar

if TYPE_CHECKING:
    settings: Config

__all__ = ["read_settings", "settings"]

#: The prefix of the toolbox's variables.
_PREFIX = "WORKERTOOLBOX_"

#: Keywords by the names that follow the prefix.
_KEYWORDS = {
    **{name: name for name in (*VARIABLES, ENV_PREFIX.name)},
    **{each.name.upper(): each.name for each in (QUEUE_TYPE, FOLDER)},
}

#: What gives the database, in a keyword or in the environment.
_DATABASE = {"result_backend", *(variable.name for variable in DATABASE_VARIABLES)}

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
        InvalidURL: The database is neither PostgreSQL nor SQLite.
        ConfError: As for `Config`, like its other errors.
    """
    keywords, problems = _keywords(namespace)
    if problems:
        raise UnknownSetting("; ".join(problems))
    prefix = keywords.get(ENV_PREFIX.name, ENV_PREFIX.default)
    given = {*keywords, *read_environment(prefix)}
    if "QUEUES" not in given:
        raise MissingQueues(
            "WORKERTOOLBOX_QUEUES is not in the settings of Django; list the queues, "
            'as in ["orders", "mail"], or write ["celery"] for one queue'
        )
    if not _DATABASE & given:
        keywords["result_backend"] = result_backend()
    make = Config.embedded if FOLDER.name in keywords else Config
    return make(**keywords)


def _keywords(namespace: str) -> tuple[dict[str, Any], list[str]]:
    """Return the keywords for `Config`, and what is wrong with unknown names."""
    keywords: dict[str, Any] = {}
    problems = []
    for name in sorted(dir(_settings)):
        if name.startswith(_PREFIX) and name != SETTING:
            keyword = _KEYWORDS.get(name.removeprefix(_PREFIX))
            problem = None if keyword else _unknown_variable(name, namespace)
        elif name.startswith(f"{namespace}_"):
            keyword = name.removeprefix(f"{namespace}_").lower()
            problem = _unknown_setting(name, keyword, namespace)
        else:
            continue
        if problem:
            problems.append(f"{name!r} in the settings of Django {problem}")
        else:
            keywords[str(keyword)] = getattr(_settings, name)
    return keywords, problems


def _unknown_variable(name: str, namespace: str) -> str:
    setting = name.removeprefix(_PREFIX)
    if setting.lower() in SETTINGS:
        return f"is a setting of Celery's; write '{namespace}_{setting}'"
    similar = find_similar(setting, (*_KEYWORDS, SETTING.removeprefix(_PREFIX)))
    hint = f"did you mean '{_PREFIX}{similar}'?" if similar else "remove it"
    return f"is not a variable of the toolbox; {hint}"


def _unknown_setting(name: str, setting: str, namespace: str) -> str | None:
    """Return what is wrong with the name of a setting for Celery, if anything is.

    A name that is not similar to any of Celery's is the user's own setting, as for
    `Config`.
    """
    if setting == _REUSE:
        return "has no effect with the toolbox; remove it"
    if setting.upper() in _KEYWORDS:
        return f"is a variable of the toolbox; write '{_PREFIX}{setting.upper()}'"
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
