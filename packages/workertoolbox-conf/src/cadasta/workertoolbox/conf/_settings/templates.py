"""Settings that are rendered from the toolbox's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.conf._settings.variables import RESULT_DB
from cadasta.workertoolbox.results import render_text, render_url

#: What a template may have, as `{0.NAME}`.
NAMES = (*RESULT_DB, "PLATFORM_QUEUE_NAME", "QUEUE_PREFIX")


def render(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings and variables with the templates among the settings rendered.

    `result_backend` is a template in any case; another string, or one of several in a
    list or tuple, where it has a `{0.`.

    Raises:
        InvalidTemplate: A variable that does not exist, or a stray brace.
    """
    variables = {name: values[name] for name in NAMES}
    return {
        name: _rendered(name, value, variables) if name.islower() else value
        for name, value in values.items()
    }


def _rendered(name: str, value: Any, variables: Mapping[str, object]) -> Any:
    match value:
        case str() if "://" in value and (name == "result_backend" or "{0." in value):
            return render_url(value, variables, setting=name)
        case str() if name == "result_backend" or "{0." in value:
            return render_text(value, variables, setting=name)
        case list() | tuple() if type(value) in (list, tuple):
            return type(value)(_rendered(name, item, variables) for item in value)
    return value
