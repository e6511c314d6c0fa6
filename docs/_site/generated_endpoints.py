"""The endpoints of the JSON API, from its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cadasta.workertoolbox.results.web.api import ENDPOINTS
from cadasta.workertoolbox.results.web.api.document import make_document


def text() -> str:
    """Return a section for each endpoint as Markdown."""
    paths = make_document(ENDPOINTS)["paths"]
    return "\n".join(_section(path, each["get"]) for path, each in paths.items())


def _section(path: str, operation: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"## `GET {path}`\n",
            f"{operation['summary']}\n",
            *([f"{operation['description']}\n"] if "description" in operation else []),
            *_parameters(operation["parameters"]),
        ]
    )


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[str]:
    if parameters:
        yield "| parameter | default | meaning |\n|---|---|---|"
        for each in parameters:
            default = each["schema"].get("default")
            shown = "" if default is None else f"`{default}`"
            line = " ".join(each["description"].replace("|", "\\|").split())
            yield f"| `{each['name']}` | {shown} | {line} |"
        yield ""
