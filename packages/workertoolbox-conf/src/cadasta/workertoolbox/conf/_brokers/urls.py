"""Which broker a configuration is for, as far as it says."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from cadasta.workertoolbox.conf._errors import InvalidValue

#: What kombu says of RabbitMQ.
RABBITMQ = {"amqp", "amqps", "pyamqp", "librabbitmq"}

#: Between two URLs of a failover list; a password may have a `;` too.
_NEXT_URL = re.compile(r";(?=[\w.+-]+://)")


def named_urls(values: Mapping[str, Any], given: Container[str]) -> list[str]:
    """Return the broker URLs that are named, those to read from and to write to.

    None is where only the default is there: an app may name its broker itself, as in
    `Celery(broker=…)`. Variables of Celery's in the environment win.

    Args:
        values: Every setting, rendered.
        given: The names that a keyword or the environment gives.
    """
    if transport := values.get("broker_transport"):
        # It wins over how the URLs begin; that of somebody's own may be anything.
        is_own = not isinstance(transport, str) or ":" in transport or "." in transport
        return [] if is_own else [f"{transport}://"]
    common = os.environ.get("CELERY_BROKER_URL") or _given("broker_url", values, given)
    urls: dict[str, None] = {}
    for end in ("read", "write"):
        own = os.environ.get(f"CELERY_BROKER_{end.upper()}_URL")
        own = own or _given(f"broker_{end}_url", values, given)
        urls |= dict.fromkeys(_split(own or common))
    return list(urls)


def scheme(url: str) -> str:
    """Return how a broker URL begins, as `redis`, in lowercase; empty without `://`."""
    start, separator, _ = url.partition("://")
    return start.partition("+")[0].lower() if separator else ""


def transport_option(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a transport option that is a dictionary; an empty one where it is none.

    Raises:
        InvalidValue: It is something else.
    """
    option = (values.get("broker_transport_options") or {}).get(name) or {}
    if not isinstance(option, Mapping):
        # Not its value, which may be secret.
        raise InvalidValue(
            f"{name} in broker_transport_options is a {type(option).__name__}; write "
            "a dictionary"
        )
    return option


def _given(name: str, values: Mapping[str, Any], given: Container[str]) -> Any:
    return values[name] if name in given else None


def _split(urls: Any) -> Iterator[str]:
    for part in [urls] if isinstance(urls, str) else urls or ():
        yield from _NEXT_URL.split(str(part))
