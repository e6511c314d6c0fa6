"""How `Config` makes all settings of those that are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.conf._brokers.conflicts import check_conflicts
from cadasta.workertoolbox.conf._brokers.predefined_queues import (
    with_predefined_queues,
)
from cadasta.workertoolbox.conf._brokers.profiles import with_profile
from cadasta.workertoolbox.conf._chord_unlock import with_chord_unlock_limit
from cadasta.workertoolbox.conf._errors import MissingQueues
from cadasta.workertoolbox.conf._settings import variables
from cadasta.workertoolbox.conf._settings.celery import CELERY_DEFAULTS
from cadasta.workertoolbox.conf._settings.overrides import warn_of_overrides
from cadasta.workertoolbox.conf._settings.templates import render_templates
from cadasta.workertoolbox.conf._settings.values import (
    check_result_backend,
    check_values,
)
from cadasta.workertoolbox.routing import Routing

_DEFAULTS = {**variables.VARIABLE_DEFAULTS, **CELERY_DEFAULTS}


def build_settings(given: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return all settings of a service, checked and rendered.

    Args:
        given: What a keyword or the environment gives.
        prefix: Prefix of the environment variables, for an error message.

    Raises:
        ConfError: As for `Config`, like its other errors.
    """
    values = {**_DEFAULTS, **given}
    _check_queues_given(values, prefix)
    check_values(values)
    values = with_predefined_queues(values)
    values = with_profile(values, given)
    monitor = values["PLATFORM_QUEUE_NAME"]
    values["PLATFORM_QUEUE_NAME"] = getattr(monitor, "name", monitor)
    values = render_templates(values)
    check_result_backend(values["result_backend"])
    values = with_chord_unlock_limit(values)
    routed = _routed({**values, "PLATFORM_QUEUE_NAME": monitor})
    check_conflicts(values, given)
    warn_of_overrides(values, given)
    return routed


def _check_queues_given(values: Mapping[str, Any], prefix: str) -> None:
    if values["QUEUES"] is None:
        raise MissingQueues(
            'no queues are given; write Config(queues=["export", "msg"]), or set '
            f"{prefix}_QUEUES=export,msg in the environment"
        )


def _routed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of routing, with the variables that routing does not take."""
    others = {name: values[name] for name in variables.NOT_FOR_ROUTING}
    routing = {name: value for name, value in values.items() if name not in others}
    return {**Routing(routing.pop("QUEUES"), ENV_PREFIX=None, **routing), **others}
