from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from celery.app.defaults import NAMESPACES, flatten

from cadasta.workertoolbox.routing import (
    InvalidQueues,
    InvalidSetting,
    InvalidVariable,
    Routing,
)
from cadasta.workertoolbox.routing._environment.celery_settings import CELERY_TYPES
from cadasta.workertoolbox.routing._environment.parsing import PARSERS
from cadasta.workertoolbox.routing._environment.variables import ROUTING_TYPES
from cadasta.workertoolbox.routing._routing import DEFAULTS


def test_every_type_of_a_setting_has_a_parser() -> None:
    assert CELERY_TYPES.keys() == dict(flatten(NAMESPACES)).keys()
    assert {*ROUTING_TYPES.values()} <= {*PARSERS}


def test_the_environment_can_give_every_setting_of_routing() -> None:
    assert ROUTING_TYPES.keys() - CELERY_TYPES.keys() == DEFAULTS.keys()


@pytest.mark.parametrize("text", ["export,msg", " export, msg,", '["export", "msg"]'])
def test_the_environment_can_give_the_queues(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_QUEUES", text)

    assert Routing().QUEUES == ("export", "msg")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PLATFORM_QUEUE_NAME", "monitor", "monitor"),
        ("QUEUE_PREFIX", "live", "live"),
        ("COPY_FAILURE", "raise", "raise"),
        ("UNKNOWN_PREFIX", "refuse", "refuse"),
        ("SERVICE_VERSION", "1.4.0", "1.4.0"),
        ("broker_url", "redis://localhost/0", "redis://localhost/0"),
        ("broker_pool_limit", "20", 20),
        ("task_publish_retry_policy", '{"max_retries": 1}', {"max_retries": 1}),
        ("result_expires", "2d", 172_800.0),
        ("broker_heartbeat", "2m", 120),
        ("task_publish_retry", "off", False),
        ("result_backend", "redis://localhost/1", "redis://localhost/1"),
    ],
)
def test_the_environment_gives_a_setting_unless_a_keyword_does(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    default: Any = Routing(["export"]).get(name)
    monkeypatch.setenv(f"WORKERTOOLBOX_{name.upper()}", text)

    assert Routing(["export"])[name] == value
    assert Routing(["export"], **{name: default}).get(name) == default
    assert Routing(["export"], ENV_PREFIX=None).get(name) == default
    assert Routing(["export"], ENV_PREFIX="FLEET").get(name) == default


def test_the_type_of_queues_and_predefined_queues_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("celery", "export", "platform.fifo")
    urls = {name: f"https://sqs.example/1/{name}" for name in names}
    monkeypatch.setenv("WORKERTOOLBOX_QUEUE_TYPE", "quorum")
    monkeypatch.setenv("WORKERTOOLBOX_PREDEFINED_QUEUES", json.dumps(urls))
    routing = Routing(["export"])
    options = routing.broker_transport_options

    assert options["predefined_queues"]["export"] == {"url": urls["export"]}
    assert options["queue_name_prefix"] == ""
    assert routing.task_queues[0].queue_arguments == {"x-queue-type": "quorum"}
    with pytest.raises(InvalidSetting, match="no 'export'"):
        Routing(["export"], PREDEFINED_QUEUES="celery=https://sqs.example/1/celery")


def test_a_value_can_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("amqp://me:s3cret@localhost//\n", "utf-8")
    monkeypatch.setenv("WORKERTOOLBOX_BROKER_URL_FILE", str(tmp_path / "url"))

    assert Routing(["export"]).broker_url == "amqp://me:s3cret@localhost//"


def test_variables_of_the_other_packages_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values: dict[str, Any] = {
        "RESULT_DB_HOST": "db",
        "RESULT_DB_PASS_FILE": "/run/secrets/password",
        "SENTRY": "false",
        "LOG_FORMAT": "json",
        "FOLDER": "/tmp",
        "WEB_PASSWORD": "correct horse battery",
        "WEB_PASSWORD_FILE": "/run/secrets/web",
        "TEST_AMQP_URL": "amqp://",
    }
    for name, text in values.items():
        monkeypatch.setenv(f"WORKERTOOLBOX_{name}", text)

    assert Routing(["export"]) == Routing(["export"], ENV_PREFIX=None)


def test_a_result_backend_of_the_results_package_is_used_if_that_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "workertoolbox+postgresql+psycopg2://db/workers"
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_BACKEND", url)
    is_installed = find_spec("cadasta.workertoolbox.results") is not None
    default: Any = Routing(["export"], ENV_PREFIX=None).get("result_backend")
    used: Any = Routing(["export"]).get("result_backend")

    assert used == (url if is_installed else default)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("QEUES", "export", "mean WORKERTOOLBOX_QUEUES"),
        ("BROKER_POOL_LIMIT", "many", "not an integer"),
        ("BROKER_TRANSPORT_OPTIONS", "{", "not a JSON object"),
        ("RESULT_DB_HOTS", "db", "mean WORKERTOOLBOX_RESULT_DB_HOST"),
        ("BROKER_URL_FILE", "/nowhere", "cannot be read"),
    ],
)
def test_a_variable_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str
) -> None:
    monkeypatch.setenv(f"WORKERTOOLBOX_{name}", text)

    with pytest.raises(InvalidVariable, match=f"WORKERTOOLBOX_{name}.*{said}"):
        Routing(["export"])


def test_no_queues_anywhere_is_an_error_that_says_where_to_write_them() -> None:
    with pytest.raises(InvalidQueues, match="or set WORKERTOOLBOX_QUEUES=export,msg"):
        Routing()
    with pytest.raises(InvalidQueues, match="or set FLEET_QUEUES=export,msg"):
        Routing(ENV_PREFIX="FLEET")
