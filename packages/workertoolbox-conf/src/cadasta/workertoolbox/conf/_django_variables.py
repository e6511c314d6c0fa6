"""The variables of the toolbox in the settings of a Django project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.conf._settings.celery import SETTINGS
from cadasta.workertoolbox.conf._settings.environment import read_environment
from cadasta.workertoolbox.conf._settings.variables import (
    DATABASE_VARIABLES,
    ENV_PREFIX,
    FOLDER,
    QUEUE_TYPE,
    VARIABLES,
)
from cadasta.workertoolbox.results.django.database import SETTING, result_backend
from cadasta.workertoolbox.routing import find_similar

#: The prefix of the variables.
PREFIX = "WORKERTOOLBOX_"

#: Keywords by the names that follow the prefix.
KEYWORDS = {
    **{name: name for name in (*VARIABLES, ENV_PREFIX.name)},
    **{each.name.upper(): each.name for each in (QUEUE_TYPE, FOLDER)},
}

#: What gives the database, in a keyword or in the environment.
_DATABASE = {"result_backend", *(variable.name for variable in DATABASE_VARIABLES)}


def read_variables(settings: Any, namespace: str) -> tuple[dict[str, Any], list[str]]:
    """Return the keywords for `Config`, and what is wrong with unknown names.

    Args:
        settings: The settings of the project.
        namespace: The prefix of the settings for Celery, without the `_`.
    """
    keywords: dict[str, Any] = {}
    problems = []
    for name in sorted(dir(settings)):
        if not name.startswith(PREFIX) or name == SETTING:
            continue
        if keyword := KEYWORDS.get(name.removeprefix(PREFIX)):
            keywords[keyword] = getattr(settings, name)
        else:
            problems.append(describe(name, _unknown(name, namespace)))
    return keywords, problems


def describe(name: str, problem: str) -> str:
    """Return what is wrong with a setting of the project."""
    return f"{name!r} in the settings of Django {problem}"


def find_database(keywords: Mapping[str, Any]) -> dict[str, str]:
    """Return the project's database as `result_backend`, unless another one is given.

    Args:
        keywords: The keywords for `Config`. The environment may give a database too.

    Raises:
        InvalidURL: The database is neither PostgreSQL nor SQLite.
    """
    prefix = keywords.get(ENV_PREFIX.name, ENV_PREFIX.default)
    if _DATABASE & {*keywords, *read_environment(prefix)}:
        return {}
    return {"result_backend": result_backend()}


def _unknown(name: str, namespace: str) -> str:
    setting = name.removeprefix(PREFIX)
    if setting.lower() in SETTINGS:
        return f"is a setting of Celery's; write '{namespace}_{setting}'"
    similar = find_similar(setting, (*KEYWORDS, SETTING.removeprefix(PREFIX)))
    hint = f"did you mean '{PREFIX}{similar}'?" if similar else "remove it"
    return f"is not a variable of the toolbox; {hint}"
