"""`tasks check` when the broker cannot be reached or refuses the login."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery

from servers.ports import HOST, free_ports
from servers.redis import Redis
from support.brokers import result_backend_url
from support.checkups import (
    PLAIN_HTTP,
    configured_app,
    run_check,
    run_check_process,
    with_settings,
)


@pytest.mark.parametrize("scheme", ["amqp", "redis", "sqs"])
def test_a_broker_that_is_down_fails_without_showing_the_password(
    scheme: str, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    url = f"{scheme}://me:geheim@{HOST}:{port}/"
    options = PLAIN_HTTP if scheme == "sqs" else "{}"
    environment = {
        "WORKERTOOLBOX_BROKER_URL": url,
        "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS": options,
        "WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(
            f"sqlite:///{tmp_path}/none"
        ),
    }
    began_at = time.monotonic()
    checked = run_check_process(environment, "--json")
    lasted_s = time.monotonic() - began_at

    assert checked.exit_code == 1
    assert list(checked.details("failed")) == ["broker", "database"]
    assert (
        f"{scheme}://me:********@{HOST}:{port}/" in checked.details("failed")["broker"]
    )
    assert checked.details("skipped")["probe"] == "needs 'broker', which is not ok"
    assert "geheim" not in checked.output
    assert lasted_s < 30
    assert not tmp_path.joinpath("none").exists()


@pytest.mark.parametrize("scheme", ["amqp", "redis", "sqs"])
def test_an_unresponsive_broker_fails_after_the_timeout(
    undeclared_app: Celery, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with socket.create_server((HOST, 0)) as silent:
        url = f"{scheme}://me:geheim@{HOST}:{silent.getsockname()[1]}/"
        options = PLAIN_HTTP if scheme == "sqs" else "{}"
        settings = {"broker_url": url, "broker_transport_options": options}
        with configured_app(monkeypatch, **settings) as app:
            with_settings(app, result_backend=undeclared_app.conf.result_backend)
            checked = run_check(app, "--timeout", "0.5")

    assert checked.exit_code == 1
    assert list(checked.details("failed")) == ["broker"]
    assert "within 0.5 s" in checked.details("failed")["broker"]
    assert "database" in checked.details("ok")
    assert "geheim" not in checked.output


def test_a_password_that_rabbitmq_refuses_fails(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("rabbitmq")
    url = app.conf.broker_url.replace(":guest@", ":geheim@")
    checked = run_check(with_settings(app, broker_url=url))

    assert list(checked.details("failed")) == ["broker"]
    assert "ACCESS_REFUSED" in checked.details("failed")["broker"]
    assert "geheim" not in checked.output


def test_a_password_that_redis_refuses_fails(
    redis: Redis, undeclared_app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = redis.url.replace("://", "://me:geheim@")
    with configured_app(monkeypatch, broker_url=url) as app:
        with_settings(app, result_backend=undeclared_app.conf.result_backend)
        checked = run_check(app)

    assert list(checked.details("failed")) == ["broker"]
    assert "password" in checked.details("failed")["broker"]
    assert "geheim" not in checked.output
