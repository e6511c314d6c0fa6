from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from celery import Celery
from kombu import Exchange

from cadasta.workertoolbox.conf import (
    BrokerUnreachable,
    Config,
    DeclarationRefused,
    NotConfigured,
    setup_app,
)
from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    SchemaOutdated,
    upgrade,
)


def configured_app(**settings: Any) -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"], **{"result_backend": None, **settings}))
    return app


def embedded_app(folder: Path, **settings: Any) -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config.embedded(["export"], folder, **settings))
    upgrade(app.conf.result_backend)
    return app


def bound_queues(folder: Path) -> set[str]:
    """Return the names of the queues that are bound to the task exchange."""
    exchange = folder / "broker" / "bindings" / "task_exchange.exchange"
    return {queue for _, _, queue in json.loads(exchange.read_text("utf-8"))}


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class RefusingHandler(BaseHTTPRequestHandler):
    """Answers as AWS does to unknown credentials."""

    agents: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.agents.append(self.headers["User-Agent"])
        body = b'{"__type": "InvalidClientTokenId", "message": "no such token"}'
        self.send_response(403)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do not write to the output of the tests."""


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port of a server that refuses all credentials."""
    with HTTPServer(("127.0.0.1", 0), RefusingHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_an_unreachable_broker_is_one_error_with_its_masked_url(
    closed_port: int,
) -> None:
    app = configured_app(broker_url=f"amqp://me:geheim@127.0.0.1:{closed_port}//")
    with pytest.raises(BrokerUnreachable) as caught:
        setup_app(app)

    assert f"amqp://me:********@127.0.0.1:{closed_port}//" in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "broker_url" in str(caught.value)


def test_an_unknown_kind_of_broker_is_one_error() -> None:
    with pytest.raises(BrokerUnreachable, match="rabbit://.*unknown kind"):
        setup_app(configured_app(broker_url="rabbit://localhost//"))


def test_each_of_several_brokers_is_tried_and_named(
    closed_port: int, silent_port: int
) -> None:
    ports = [closed_port, silent_port]
    urls = [f"amqp://me:geheim@127.0.0.1:{port}//" for port in ports]
    app = configured_app(broker_url=urls, broker_connection_timeout=0.2)
    [failure] = setup_app(app, throw=False)

    assert f":{closed_port}//;amqp://me:********@127.0.0.1:{silent_port}" in str(
        failure
    )
    assert "geheim" not in str(failure)
    assert "timed out" in str(failure)


@pytest.mark.parametrize("scheme", ["amqp", "sqs"])
def test_a_silent_broker_times_out(silent_port: int, scheme: str) -> None:
    app = configured_app(
        broker_url=f"{scheme}://me:geheim@127.0.0.1:{silent_port}//",
        broker_transport_options={"is_secure": False} if scheme == "sqs" else {},
        broker_connection_timeout=0.2,
    )
    [failure] = setup_app(app, throw=False)

    assert isinstance(failure, BrokerUnreachable)
    assert "timed out" in str(failure).lower() or "timeout" in str(failure).lower()


def test_refused_aws_credentials_are_an_error_with_the_reason(
    refusing_port: int,
) -> None:
    app = configured_app(
        broker_url=f"sqs://me:geheim@127.0.0.1:{refusing_port}/",
        broker_transport_options={"is_secure": False},
    )
    with pytest.raises(BrokerUnreachable, match="no such token") as caught:
        setup_app(app)

    assert "geheim" not in str(caught.value)


def test_given_options_for_the_aws_client_are_kept(
    refusing_port: int,
) -> None:
    app = configured_app(
        broker_url=f"sqs://me:geheim@127.0.0.1:{refusing_port}/",
        broker_transport_options={
            "is_secure": False,
            "client-config": {"user_agent_extra": "of-my-own"},
        },
    )
    setup_app(app, throw=False)

    assert "of-my-own" in RefusingHandler.agents[-1]


def test_without_throw_errors_are_logged_and_returned(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = configured_app(broker_url=f"amqp://me:geheim@127.0.0.1:{closed_port}//")
    [failure] = setup_app(app, throw=False)

    assert isinstance(failure, BrokerUnreachable)
    assert isinstance(failure.__cause__, Exception)
    assert caplog.record_tuples == [
        ("cadasta.workertoolbox.conf._setup", logging.ERROR, str(failure))
    ]


def test_every_queue_is_declared(tmp_path: Path) -> None:
    failures = setup_app(embedded_app(tmp_path))

    assert failures == []
    assert bound_queues(tmp_path) == {"celery", "export", "platform.fifo"}


def test_a_refused_queue_does_not_prevent_the_declaration_of_others(
    tmp_path: Path,
) -> None:
    app = embedded_app(tmp_path)
    app.amqp.queues["export"].exchange = Exchange("blocked", type="topic")
    # A folder with the name of the file for the bindings of that exchange.
    tmp_path.joinpath("broker", "bindings", "blocked.exchange").mkdir(parents=True)
    [failure] = setup_app(app, throw=False)

    assert isinstance(failure, DeclarationRefused)
    assert "'export'" in str(failure)
    assert bound_queues(tmp_path) == {"celery", "platform.fifo"}


def test_an_app_without_the_toolbox_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(NotConfigured, match=r"'export'.*config_from_object"):
        setup_app(Celery("export", set_as_current=False))


def test_a_database_without_tables_is_an_error_that_says_what_to_do(
    tmp_path: Path,
) -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config.embedded(["export"], tmp_path))
    with pytest.raises(SchemaOutdated, match="tasks upgrade"):
        setup_app(app)

    assert bound_queues(tmp_path) == {"celery", "export", "platform.fifo"}


def test_the_database_of_another_backend_is_not_checked(tmp_path: Path) -> None:
    database = f"db+sqlite:///{tmp_path / 'none' / 'results.sqlite3'}"
    app = embedded_app(tmp_path)
    app.conf.update(result_backend=database)

    assert setup_app(app) == []


def test_the_first_of_several_errors_is_raised_with_the_others_as_notes(
    closed_port: int,
) -> None:
    app = configured_app(
        broker_url=f"amqp://me:geheim@127.0.0.1:{closed_port}//",
        result_backend=(
            "workertoolbox+postgresql+psycopg2://me:geheim@127.0.0.1:"
            f"{closed_port}/workers"
        ),
    )
    with pytest.raises(BrokerUnreachable) as caught:
        setup_app(app)
    first, second = setup_app(app, throw=False)

    assert isinstance(first, BrokerUnreachable)
    assert isinstance(second, DatabaseUnavailable)
    assert caught.value.__notes__ == [f"and {second}"]
    assert "geheim" not in str(caught.value.__notes__)
