"""A proxy between a broker and the processes that use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kombu import Connection

from support.brokers import Broker
from support.conformance_harness import URL
from support.proxy import Proxy, proxied_url, run_proxy


@contextmanager
def proxied_broker(broker: Broker) -> Iterator[tuple[Proxy, dict[str, str]]]:
    """Yield a proxy, and the environment of processes that reach the broker by it."""
    url = broker.environment[URL]
    server = Connection(url).info()
    with run_proxy(server["hostname"], server["port"]) as proxy:
        yield proxy, {**broker.environment, URL: proxied_url(url, proxy)}
