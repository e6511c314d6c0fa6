"""SQS queues that were created elsewhere, as names and URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cadasta.workertoolbox.routing._errors import InvalidSetting
from cadasta.workertoolbox.routing._masking import mask_url

_URL = re.compile(r"https?://[^/\s]+/\S+")

_EXAMPLE = "'export=https://…/export'"


def expand_predefined_queues(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the predefined queues in the form that kombu takes.

    They are given as `PREDEFINED_QUEUES`, or as `predefined_queues` in the transport
    options. Either is a text with one line `name=url` for each queue, a dictionary of
    names and URLs, or kombu's dictionary of names and dictionaries with a `url`.

    Raises:
        InvalidSetting: The queues are given in both places, a queue has no URL, or a
            queue is given twice.
    """
    options = dict(values.get("broker_transport_options") or {})
    own, kombus = values.get("PREDEFINED_QUEUES"), options.get("predefined_queues")
    if not own and not kombus:
        return dict(values)
    kombus_place = "predefined_queues in broker_transport_options"
    if own and kombus:
        raise InvalidSetting(
            f"PREDEFINED_QUEUES and {kombus_place} are both given; give the queues once"
        )
    place = "PREDEFINED_QUEUES" if own else kombus_place
    options["predefined_queues"] = _queues(place, own or kombus)
    return {**values, "broker_transport_options": options}


def _queues(place: str, given: Any) -> dict[str, Any]:
    queues: dict[str, Any] = {}
    for name, queue in _pairs(place, given):
        if name in queues:
            raise InvalidSetting(f"{place} has queue {name!r} twice; give it once")
        queues[name] = (
            queue if isinstance(queue, Mapping) else _queue(place, name, queue)
        )
    return queues


def _pairs(place: str, given: Any) -> list[tuple[str, Any]]:
    """Return the name and the URL, or the dictionary, of each queue."""
    if isinstance(given, Mapping):
        return list(given.items())
    # The errors do not show the value, which may be secret.
    if not isinstance(given, str):
        raise InvalidSetting(
            f"{place} has type {type(given).__name__}; write a text with a line "
            f"{_EXAMPLE} for each queue, or a dictionary of names and URLs"
        )
    if given.lstrip().startswith(("{", "[")):
        raise InvalidSetting(
            f"{place} is JSON in a string; write a dictionary of names and URLs, or a "
            f"text with a line {_EXAMPLE} for each queue"
        )
    return list(_lines(place, given))


def _lines(place: str, text: str) -> Iterator[tuple[str, str]]:
    for line in filter(None, map(str.strip, text.splitlines())):
        name, separator, url = (part.strip() for part in line.partition("="))
        if not separator or not name or ":" in name:
            raise InvalidSetting(
                f"{place} has a line {mask_url(line)!r} that is not a name and a URL; "
                f"write one like {_EXAMPLE} for each queue"
            )
        yield name, url


def _queue(place: str, name: object, url: Any) -> dict[str, Any]:
    if isinstance(url, str) and _URL.fullmatch(url):
        return {"url": url}
    kind = type(url).__name__
    shown = repr(mask_url(url)) if isinstance(url, str) else f"a value of type {kind}"
    raise InvalidSetting(
        f"{place} has {shown} for the URL of queue {name!r}; write the whole URL, as "
        f"in {_EXAMPLE}"
    )
