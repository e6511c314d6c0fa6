"""The settings that restrict tasks and results to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.routing._errors import InvalidSetting

#: Settings for writing and reading tasks and results as JSON.
JSON_ONLY: dict[str, Any] = {
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "result_accept_content": ["json"],
}


def check_serializers(settings: Mapping[str, Any]) -> None:
    """Refuse serializers other than JSON.

    If a process unpickled messages or results, anybody with write access to the broker
    or the database could run code in it. And the monitor has to read every message.

    Raises:
        InvalidSetting: A setting names another serializer.
    """
    for name, json in {**JSON_ONLY, "event_serializer": "json"}.items():
        value = settings.get(name, json)
        if value != json and not (isinstance(json, list) and _are_json(value)):
            raise InvalidSetting(
                f"{name}={value!r} is not supported: the toolbox uses JSON only; leave "
                f"it out, or write {name}={json!r}"
            )


def _are_json(types: object) -> bool:
    return (
        isinstance(types, list | tuple | set | frozenset)
        and bool(types)
        and all(name in ("json", "application/json") for name in types)
    )
