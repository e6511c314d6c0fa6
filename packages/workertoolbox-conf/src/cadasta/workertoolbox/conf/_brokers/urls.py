"""The broker URLs that a configuration names."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from typing import Any

from cadasta.workertoolbox.conf._errors import InvalidValue
from cadasta.workertoolbox.conf._settings.celery import URL_VARIABLES
from cadasta.workertoolbox.routing import split_urls

#: The URL schemes that kombu maps to RabbitMQ.
RABBITMQ_SCHEMES = {"amqp", "amqps", "pyamqp", "librabbitmq"}


def named_urls(values: Mapping[str, Any], given: Container[str]) -> list[str]:
    """Return the broker URLs that are named for reading and for writing.

    Celery's own environment variables win, as in Celery. The list is empty if there is
    only the default URL, because an app may name its broker itself, as in
    `Celery(broker=…)`.

    Args:
        values: Every setting, rendered.
        given: The names that a keyword or the environment gives.
    """
    if transport := values.get("broker_transport"):
        # The setting wins over the scheme of the URLs. The user's own transport class
        # may be for any broker.
        is_class = not isinstance(transport, str) or {".", ":"} & set(transport)
        return [] if is_class else [f"{transport}://"]

    def named(setting: str) -> Any:
        url = values[setting] if setting in given else None
        return os.environ.get(URL_VARIABLES[setting]) or url

    urls: dict[str, None] = {}
    for setting in ("broker_read_url", "broker_write_url"):
        urls |= dict.fromkeys(_split(named(setting) or named("broker_url")))
    return list(urls)


def scheme(url: str) -> str:
    """Return the scheme of a broker URL in lowercase, as `redis`; empty without `://`.

    A driver after a `+` is left out.
    """
    start, separator, _ = url.partition("://")
    return start.partition("+")[0].lower() if separator else ""


def transport_option(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a transport option that is a dictionary; an empty one if it is not given.

    Raises:
        InvalidValue: The option is not a dictionary.
    """
    option = (values.get("broker_transport_options") or {}).get(name) or {}
    if not isinstance(option, Mapping):
        # Without the value, which may be secret.
        raise InvalidValue(
            f"{name} in broker_transport_options has type {type(option).__name__}; "
            "write a dictionary"
        )
    return option


def _split(urls: Any) -> Iterator[str]:
    for part in [urls] if isinstance(urls, str) else urls or ():
        yield from split_urls(str(part))
