"""JSON, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.routing._errors import InvalidSetting

#: Settings with which tasks and results are written and read as JSON.
JSON_ONLY: dict[str, Any] = {
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "result_accept_content": ["json"],
}


def check_serializers(settings: Mapping[str, Any]) -> None:
    """Refuse everything but JSON.

    Whoever can write to a broker or a database could run code in whatever unpickles,
    and the monitor has to read every message.

    Raises:
        InvalidSetting: A setting with another serializer.
    """
    for name, json in {**JSON_ONLY, "event_serializer": "json"}.items():
        value = settings.get(name, json)
        if value != json and not (isinstance(json, list) and _are_json(value)):
            raise InvalidSetting(
                f"{name}={value!r}: the toolbox speaks JSON only; leave it out, or "
                f"write {name}={json!r}"
            )


def _are_json(types: object) -> bool:
    return (
        isinstance(types, list | tuple | set | frozenset)
        and bool(types)
        and all(name in ("json", "application/json") for name in types)
    )
