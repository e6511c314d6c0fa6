"""A server that receives the events of Sentry's SDK."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Decoders by content encoding. The SDK also uses brotli if that is installed, which it
#: is not for the tests.
_DECODERS = {"gzip": gzip.decompress}


@dataclass(frozen=True)
class SentryServer:
    """The server, with the envelopes that it has received.

    Attributes:
        dsn: The DSN for the SDK.
        bodies: The envelopes, decompressed, in the order of their arrival.
    """

    dsn: str
    bodies: list[bytes] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of all envelopes."""
        return [event for body in self.bodies for event in _events(body)]

    def events_with_tags(self, **tags: str) -> list[dict[str, Any]]:
        """Return the events that have these tags."""
        return [each for each in self.events if tags.items() <= each["tags"].items()]


@contextmanager
def run_sentry_server() -> Iterator[SentryServer]:
    """Run the server on a free loopback port as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sentry.bodies.append(_DECODERS[self.headers["Content-Encoding"]](body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing to the output of the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sentry = SentryServer(f"http://key@127.0.0.1:{server.server_port}/1")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield sentry
        finally:
            server.shutdown()
            thread.join()


def _events(envelope: bytes) -> Iterator[dict[str, Any]]:
    rest = envelope.partition(b"\n")[2]
    while rest:
        line, _, rest = rest.partition(b"\n")
        head = json.loads(line)
        payload, rest = rest[: head["length"]], rest[head["length"] + 1 :]
        if head["type"] == "event":
            yield json.loads(payload)
