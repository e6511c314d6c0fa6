"""An HTTP server for metrics that idle, slow or many clients cannot exhaust."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore, Lock, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

#: Maximum number of open connections. A further one closes the oldest.
MAX_CONNECTIONS = 16

#: Maximum number of threads, including those of connections that have been closed.
MAX_THREADS = 2 * MAX_CONNECTIONS

#: Seconds after which a client that sends nothing is disconnected.
IDLE_S = 5.0

#: Seconds to wait if no file descriptor is left to accept a connection. It stays in the
#: queue of the socket.
ACCEPT_AGAIN_S = 0.5

#: Seconds after which any connection is closed; a scrape takes at most ten.
MAX_AGE_S = 30.0


class _Handler(WSGIRequestHandler):
    timeout = IDLE_S

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests."""


class MetricsServer(ThreadingMixIn, WSGIServer):
    """A server with a limited number of connections and threads.

    Args:
        host: Name or address to listen on.
        port: Port to listen on.
        app: The WSGI application that returns the metrics.

    Raises:
        OSError: The server cannot listen there.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, app: Callable[..., Any]) -> None:
        [(self.address_family, *_, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self._lock = Lock()
        self._opened_at: dict[socket.socket, float] = {}
        self._free_threads = BoundedSemaphore(MAX_THREADS)
        super().__init__((str(address[0]), port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Listen without asking for the name of the host, which may take seconds."""
        # Names that `HTTPServer.server_bind` and `WSGIServer.server_bind` set.
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        host, self.server_port = self.socket.getsockname()[:2]
        self.server_name = str(host)
        self.setup_environ()

    def start(self) -> None:
        """Serve in daemon threads until the process ends."""
        Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def get_request(self) -> Any:
        """Accept a connection; the caller ignores errors and would try at once."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(ACCEPT_AGAIN_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection in a thread; close the oldest ones if there are many."""
        with self._lock:
            self._opened_at[request] = time.monotonic()
            oldest = list(self._opened_at)[:-MAX_CONNECTIONS]
        self._disconnect(oldest)
        # The threads of closed connections end soon. Refusing this connection instead
        # would refuse a scrape that arrives after many idle connections.
        if self._free_threads.acquire(timeout=IDLE_S):
            super().process_request(request, client_address)
        else:
            self._forget(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle a connection until it is closed."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)
            self._free_threads.release()

    def service_actions(self) -> None:
        """Close old connections; called twice a second."""
        before = time.monotonic() - MAX_AGE_S
        with self._lock:
            old = [each for each, at in self._opened_at.items() if at < before]
        self._disconnect(old)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that clients have closed."""

    def _disconnect(self, requests: list[socket.socket]) -> None:
        for request in requests:
            self._forget(request)
            # The thread that reads from the socket closes it.
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            self._opened_at.pop(request, None)
