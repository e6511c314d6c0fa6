"""Render settings that are templates of the toolbox's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.conf._settings.variables import DATABASE_VARIABLES
from cadasta.workertoolbox.results import render_text, render_url

#: The variables that a template may name, as `{0.NAME}`.
_NAMES = (
    *(variable.name for variable in DATABASE_VARIABLES),
    "PLATFORM_QUEUE_NAME",
    "QUEUE_PREFIX",
)


def render_templates(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings and variables, with the templates among the settings rendered.

    `result_backend` is always a template. Any other string, even in a list or tuple, is
    a template if it contains `{0.`.

    Raises:
        InvalidTemplate: A template names a variable that does not exist, or has a
            stray brace.
    """
    variables = {name: values[name] for name in _NAMES}
    return {
        name: _rendered(name, value, variables) if name.islower() else value
        for name, value in values.items()
    }


def _rendered(name: str, value: Any, variables: Mapping[str, object]) -> Any:
    match value:
        case str() if name == "result_backend" or "{0." in value:
            render = render_url if "://" in value else render_text
            return render(value, variables, setting=name)
        case list() | tuple() if type(value) in (list, tuple):
            return type(value)(_rendered(name, item, variables) for item in value)
    return value
