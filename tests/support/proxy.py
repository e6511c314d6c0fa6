"""A TCP proxy in front of a server, whose connections a test can interrupt."""

from __future__ import annotations

import socket
import socketserver
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from urllib.parse import urlsplit

from servers.ports import HOST

#: Seconds between two checks whether the proxy should stop listening.
POLL_INTERVAL_S = 0.02

#: Bytes to read from a socket at once.
CHUNK_BYTES = 65536


class Proxy:
    """A proxy that forwards every connection to a server.

    Attributes:
        port: The port of the proxy on the loopback interface.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._sockets: set[socket.socket] = set()
        self._stalled: set[socket.socket] = set()
        self._lock = Lock()
        # A bound socket that does not listen reserves the port for this process.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._listener: _Listener | None = None
        self._limits: deque[int | None] = deque()

    def cut(self) -> None:
        """Close all connections. New ones are forwarded as before."""
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):  # The socket has closed by itself.
                    one.shutdown(socket.SHUT_RDWR)

    def cut_response(self, number: int, *, after_bytes: int) -> None:
        """Close one of the next connections in the middle of the server's response.

        Args:
            number: The number of the connection, from 1.
            after_bytes: Bytes of the response that are forwarded before.
        """
        self._limits = deque([*[None] * (number - 1), after_bytes])

    def stall(self) -> None:
        """Drop all further bytes of the open connections without closing them."""
        with self._lock:
            self._stalled.update(self._sockets)

    def refuse_connections(self) -> None:
        """Refuse new connections, like a port without a listener."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def accept_connections(self) -> None:
        """Forward new connections again."""
        if self._listener is None:
            self._listener = _Listener(self)

    def set_target(self, host: str, port: int) -> None:
        """Forward new connections to another server."""
        self._server = host, port

    def close(self) -> None:
        """Close all connections, and release the port."""
        self.refuse_connections()
        self.cut()
        self._reserved.close()

    def serve(self, client: socket.socket) -> None:
        """Forward one connection until either side closes it."""
        with socket.socket() as server, self._registered(client, server):
            try:
                server.connect(self._server)
            except OSError:
                return
            limit = self._limits.popleft() if self._limits else None
            response = Thread(
                target=self._forward, args=(server, client, limit), daemon=True
            )
            response.start()
            self._forward(client, server)
            response.join()

    @contextmanager
    def _registered(self, *pair: socket.socket) -> Iterator[None]:
        with self._lock:
            self._sockets.update(pair)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.difference_update(pair)
                self._stalled.difference_update(pair)

    def _forward(
        self, source: socket.socket, target: socket.socket, limit: int | None = None
    ) -> None:
        """Forward bytes in one direction up to the limit; then close both sockets."""
        with suppress(OSError):
            while chunk := source.recv(
                CHUNK_BYTES if limit is None else min(limit, CHUNK_BYTES)
            ):
                if source not in self._stalled:
                    target.sendall(chunk)
                if limit is not None:
                    limit -= len(chunk)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, proxy: Proxy) -> None:
        super().__init__((HOST, proxy.port), _Handler, bind_and_activate=False)
        self.proxy = proxy
        self.socket.close()
        self.socket = _bound(proxy.port)
        self.socket.listen(128)
        self._thread = Thread(
            target=self.serve_forever, args=(POLL_INTERVAL_S,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.socket.close()


class _Handler(socketserver.BaseRequestHandler):
    server: _Listener

    def handle(self) -> None:
        self.server.proxy.serve(self.request)


@contextmanager
def run_proxy(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy in front of a server as long as the block lasts."""
    proxy = Proxy(host, port)
    proxy.accept_connections()
    try:
        yield proxy
    finally:
        proxy.close()


def proxied_url(url: str, proxy: Proxy) -> str:
    """Return the URL of a server with the proxy's address in place of its own."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{HOST}:{proxy.port}").geturl()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((HOST, port))
    return bound
