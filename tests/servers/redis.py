"""A Redis server, in which each test gets a prefix for its keys."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from processes import running
from servers.access import Access
from servers.missing import missing
from servers.ports import HOST, free_ports, is_listening
from servers.programs import find_redis


@dataclass(frozen=True)
class Redis:
    """A server, our own or a given one.

    Attributes:
        url: Where it is.
    """

    url: str

    @contextmanager
    def access(self) -> Iterator[Access]:
        """Give a prefix away; keys that begin with it are deleted after the block."""
        prefix = f"{uuid.uuid4().hex}:"
        try:
            yield Access(self.url, {"global_keyprefix": prefix})
        finally:
            with redis.Redis.from_url(self.url) as client:
                for key in client.scan_iter(f"{prefix}*", count=1000):
                    client.delete(key)


@contextmanager
def serve(folder: Path) -> Iterator[Redis]:
    """Run a server, or use the one of `WORKERTOOLBOX_TEST_REDIS_URL`."""
    if url := os.environ.get("WORKERTOOLBOX_TEST_REDIS_URL"):
        yield Redis(url)
        return
    program = find_redis()
    if program is None:
        missing("Redis", "redis-server is not installed")
    [port] = free_ports(1)
    keeping_nothing = ["--save", "", "--appendonly", "no"]
    with running(
        [program, "--bind", HOST, "--port", str(port), *keeping_nothing],
        folder=folder,
        ready=lambda: is_listening(port),
        shown=False,
    ):
        yield Redis(f"redis://{HOST}:{port}/0")
