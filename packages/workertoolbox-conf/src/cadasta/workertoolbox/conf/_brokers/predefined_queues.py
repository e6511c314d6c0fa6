"""Queues of SQS that were made elsewhere, as a line for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cadasta.workertoolbox.conf._errors import InvalidValue
from cadasta.workertoolbox.routing import mask_url

_URL = re.compile(r"https?://[^/\s]+/\S+")

_EXAMPLE = "'export=https://…/export'"


def with_predefined(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the predefined queues in the form that kombu takes.

    They are given as `PREDEFINED_QUEUES`, or among the transport options: as a text
    with a line `name=url` for each, a dictionary of names and URLs, or kombu's own of
    names and dictionaries with a `url`.

    Raises:
        InvalidValue: They are given in both places, or one of them has no URL, or
            stands there twice.
    """
    options = dict(values.get("broker_transport_options") or {})
    own, kombus = values.get("PREDEFINED_QUEUES"), options.get("predefined_queues")
    if not own and not kombus:
        return dict(values)
    kombus_place = "predefined_queues in broker_transport_options"
    if own and kombus:
        raise InvalidValue(
            f"PREDEFINED_QUEUES and {kombus_place} are both given; give the queues once"
        )
    place = "PREDEFINED_QUEUES" if own else kombus_place
    options["predefined_queues"] = _queues(place, own or kombus)
    return {**values, "broker_transport_options": options}


def _queues(place: str, given: Any) -> dict[str, Any]:
    if isinstance(given, str) and given.lstrip().startswith(("{", "[")):
        # Not its value, as below.
        raise InvalidValue(
            f"{place} is JSON in a text; write a dictionary of names and URLs, or a "
            f"text with a line {_EXAMPLE} for each queue"
        )
    if isinstance(given, str):
        pairs = list(_lines(place, given))
    elif isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        # Not its value, which may be secret.
        raise InvalidValue(
            f"{place} is a {type(given).__name__}; write a text with a line {_EXAMPLE} "
            "for each queue, or a dictionary of names and URLs"
        )
    queues: dict[str, Any] = {}
    for name, queue in pairs:
        if name in queues:
            raise InvalidValue(f"{place} has queue {name!r} twice; give it once")
        queues[name] = (
            queue if isinstance(queue, Mapping) else _queue(place, name, queue)
        )
    return queues


def _lines(place: str, text: str) -> Iterator[tuple[str, str]]:
    for line in filter(None, map(str.strip, text.splitlines())):
        name, separator, url = (part.strip() for part in line.partition("="))
        if not separator or not name or ":" in name:
            raise InvalidValue(
                f"{place} has a line {mask_url(line)!r} that is no name with a URL; "
                f"write one like {_EXAMPLE} for each queue"
            )
        yield name, url


def _queue(place: str, name: object, url: Any) -> dict[str, Any]:
    is_text = isinstance(url, str)
    if not is_text or not _URL.fullmatch(url):
        shown = repr(mask_url(url)) if is_text else f"a {type(url).__name__}"
        raise InvalidValue(
            f"{place} has {shown} for the URL of queue {name!r}; write the whole one, "
            f"as in {_EXAMPLE}"
        )
    return {"url": url}
