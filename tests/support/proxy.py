"""A network between client and server that a test can cut."""

from __future__ import annotations

import socket
import socketserver
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from urllib.parse import urlsplit

from servers.ports import HOST

#: Seconds between two looks whether the proxy is to stop listening.
POLL_INTERVAL_S = 0.02

#: Bytes that are passed on at once.
CHUNK = 65536


class Proxy:
    """Pass every connection on to a server, until told otherwise.

    Attributes:
        port: The port on the loopback interface to connect to instead.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._sockets: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        self._lock = Lock()
        # Not listening, it keeps the port ours while nothing else has it.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._listener: _Listener | None = None
        self._limits: deque[int | None] = deque()

    def cut(self) -> None:
        """End every connection that is up; new ones are passed on as before."""
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):  # it has ended by itself
                    one.shutdown(socket.SHUT_RDWR)

    def cut_response(self, number: int, *, after_bytes: int) -> None:
        """End one of the connections to come in the middle of what the server says.

        Args:
            number: Which one, from 1.
            after_bytes: How many bytes of the server's are passed on before.
        """
        self._limits = deque([*[None] * (number - 1), after_bytes])

    def stall(self) -> None:
        """Pass on nothing more between those that are connected, without a word."""
        with self._lock:
            self._silent.update(self._sockets)

    def refuse_connections(self) -> None:
        """Refuse new connections, as a port does that nothing listens on."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def accept_connections(self) -> None:
        """Pass new connections on again."""
        if self._listener is None:
            self._listener = _Listener(self)

    def set_target(self, host: str, port: int) -> None:
        """Pass new connections on to another server."""
        self._server = host, port

    def close(self) -> None:
        """End every connection, and give the port back."""
        self.refuse_connections()
        self.cut()
        self._reserved.close()

    def serve(self, client: socket.socket) -> None:
        """Pass one connection on until either side ends it."""
        with socket.socket() as server, self._registered(client, server):
            try:
                server.connect(self._server)
            except OSError:
                return
            limit = self._limits.popleft() if self._limits else None
            back = Thread(target=self._pass, args=(server, client, limit), daemon=True)
            back.start()
            self._pass(client, server)
            back.join()

    @contextmanager
    def _registered(self, *pair: socket.socket) -> Iterator[None]:
        with self._lock:
            self._sockets.update(pair)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.difference_update(pair)
                self._silent.difference_update(pair)

    def _pass(
        self, source: socket.socket, target: socket.socket, limit: int | None = None
    ) -> None:
        """Pass bytes on, one way, until a socket ends, or the limit; then end both."""
        with suppress(OSError):
            while chunk := source.recv(CHUNK if limit is None else min(limit, CHUNK)):
                if source not in self._silent:
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
    """Yield a proxy in front of a server that lasts as long as the block."""
    proxy = Proxy(host, port)
    proxy.accept_connections()
    try:
        yield proxy
    finally:
        proxy.close()


def proxied_url(url: str, proxy: Proxy) -> str:
    """Return the URL of a server with a proxy in its place."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{HOST}:{proxy.port}").geturl()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((HOST, port))
    return bound
