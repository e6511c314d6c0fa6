"""The metrics port withstands idle, slow and many clients."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any
from urllib.request import urlopen

import pytest
from polling import eventually

from cadasta.workertoolbox.results._monitor import metrics_server
from cadasta.workertoolbox.results._monitor.metrics_server import (
    MAX_THREADS,
    MetricsServer,
)

HOST = "127.0.0.1"


def answer(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"metrics"]


@pytest.fixture
def port() -> Iterator[int]:
    server = MetricsServer(HOST, 0, answer)
    server.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def scraped(port: int) -> bytes:
    with urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as response:
        content: bytes = response.read()
    return content


def connect(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=10)


def test_metrics_are_served(port: int) -> None:
    assert scraped(port) == b"metrics"


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: "])
def test_many_idle_connections_use_few_threads_and_block_nobody(
    port: int, sent: bytes
) -> None:
    before = threading.active_count()
    with ExitStack() as stack:
        for _ in range(300):
            connection = stack.enter_context(closing(connect(port)))
            connection.sendall(sent)
        threads = threading.active_count() - before

        assert scraped(port) == b"metrics"
    assert threads <= MAX_THREADS


def test_an_idle_connection_is_closed(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server._Handler, "timeout", 0.1)
    with closing(connect(port)) as connection:
        assert connection.recv(100) == b""


def test_a_slow_connection_is_closed(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "MAX_AGE_S", 0.1)
    with closing(connect(port)) as connection:

        def is_closed() -> bool:
            try:
                connection.sendall(b"x")
            except OSError:
                return True
            return False

        assert eventually(is_closed, True)


def test_a_client_that_hangs_up_is_not_logged(
    port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with closing(connect(port)) as connection:
        linger = b"\1\0\0\0\0\0\0\0"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.sendall(b"GET /metrics HTTP/1.1\r\n")
    scraped(port)

    assert capfd.readouterr() == ("", "")
