"""The keywords of `Config` and of its other constructors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.conf._errors import InvalidValue
from cadasta.workertoolbox.conf._settings import variables
from cadasta.workertoolbox.conf._settings.names import check_names

#: The default of a keyword: the environment, a profile or Celery gives the value.
UNSET: Any = object()


def given_settings(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables and settings among the parameters of a call."""
    names = {*variables.VARIABLES, variables.QUEUE_TYPE.name}
    named = {
        name: value
        for name, value in parameters.items()
        if name in names and value is not UNSET
    }
    return {**named, **parameters["settings"]}


def with_queues(queues: object, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with the queues of the first argument, if it is given.

    Raises:
        UnknownSetting: As `check_names`.
        InvalidValue: The queues are given twice.
    """
    check_names(settings)
    if queues is None:
        return settings
    if "QUEUES" in settings:
        raise InvalidValue(
            f"queues={queues!r} and QUEUES={settings['QUEUES']!r} are both given; give "
            "the queues once"
        )
    return {**settings, "QUEUES": queues}
