from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.beat import Scheduler
from celery.schedules import schedule

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.routing import FrozenSettings

NESTED: dict[str, Any] = {
    "broker_transport_options": {"predefined_queues": {}, "list": [{"a": [1]}]},
    "task_routes": {"a.b": {"queue": "export"}},
    "beat_schedule": {
        "often": {"task": "export.often", "schedule": 10, "args": (1,), "options": {}}
    },
}


@pytest.fixture
def config() -> Config:
    return Config(["export"], **NESTED)


def test_an_attribute_cannot_be_set(config: Config) -> None:
    with pytest.raises(FrozenSettings, match="Config cannot be.*broker_url=…") as error:
        config.broker_url = "redis://"

    assert isinstance(error.value, AttributeError)
    assert config == Config(["export"], **NESTED)


@pytest.mark.parametrize("name", ["broker_url", "QUEUES", "_values", "nothing"])
def test_an_attribute_cannot_be_deleted(config: Config, name: str) -> None:
    with pytest.raises(FrozenSettings, match=f"Config cannot be.*without {name}"):
        delattr(config, name)

    assert config == Config(["export"], **NESTED)


def replace(config: Config) -> None:
    config.broker_transport_options["region"] = "x"


def join(config: Config) -> None:
    options = config.broker_transport_options
    options |= {"region": "x"}


def append(config: Config) -> None:
    config.accept_content.append("yaml")


def extend(config: Config) -> None:
    content = config.accept_content
    content += ["yaml"]


@pytest.mark.parametrize(
    "change",
    [
        replace,
        join,
        append,
        extend,
        lambda config: config.broker_transport_options.update(region="x"),
        lambda config: config.broker_transport_options.pop("region"),
        lambda config: config.broker_transport_options.popitem(),
        lambda config: config.broker_transport_options.setdefault("x", 1),
        lambda config: config.broker_transport_options.clear(),
        lambda config: config.broker_transport_options["list"][0]["a"].clear(),
        lambda config: config.broker_transport_options["list"][0].clear(),
        lambda config: config.broker_transport_options["list"].pop(),
        lambda config: config.beat_schedule["often"].clear(),
        lambda config: config.accept_content.insert(0, "yaml"),
        lambda config: config.accept_content.remove("json"),
        lambda config: config.accept_content.reverse(),
        lambda config: config.accept_content.sort(),
        lambda config: config.accept_content.__setitem__(0, "yaml"),
        lambda config: config.accept_content.__delitem__(0),
        lambda config: config.accept_content.__imul__(2),
    ],
)
def test_no_nested_value_can_be_changed(
    config: Config, change: Callable[[Config], object]
) -> None:
    with pytest.raises(FrozenSettings, match="cannot be changed.*app.conf") as error:
        change(config)

    assert isinstance(error.value, TypeError)
    assert config == Config(["export"], **NESTED)


def test_a_set_becomes_a_frozenset() -> None:
    content = {"json"}
    config = Config(["export"], accept_content=content, own={"a": [content]})
    content.add("yaml")

    assert config.accept_content == frozenset({"json"})
    assert config.own == {"a": [frozenset({"json"})]}
    assert not hasattr(config.accept_content, "add")
    assert not hasattr(config.own["a"][0], "add")
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config


def test_the_error_of_a_change_shows_no_secret() -> None:
    config = Config(["export"], broker_transport_options={"password": "geheim"})
    with pytest.raises(FrozenSettings) as caught:
        config.broker_transport_options.clear()

    assert "geheim" not in str(caught.value)


def test_changing_a_given_value_afterwards_does_not_change_the_configuration() -> None:
    options: dict[str, Any] = {"list": [1]}
    config = Config(["export"], broker_transport_options=options)
    options["list"].append(2)
    options["region"] = "x"

    assert config == Config(["export"], broker_transport_options={"list": [1]})


def test_a_copy_of_a_nested_value_can_be_changed(config: Config) -> None:
    options = config.broker_transport_options
    for changeable in (
        copy.copy(options),
        copy.deepcopy(options),
        options.copy(),
        dict(options),
        options | {},
    ):
        changeable["region"] = "x"
    copy.deepcopy(options)["list"][0]["a"].append(2)
    copy.copy(config.accept_content).append("yaml")

    assert config == Config(["export"], **NESTED)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_a_copy_is_equal_and_frozen_too(
    config: Config, copied: Callable[[Config], Config]
) -> None:
    other = copied(config)

    assert other == config
    assert type(other) is Config
    assert repr(other) == repr(config)
    with pytest.raises(FrozenSettings):
        other.broker_transport_options["list"][0].clear()
    with pytest.raises(FrozenSettings):
        other.accept_content.append("yaml")
    with pytest.raises(FrozenSettings):
        other.broker_url = "redis://"


def test_configurations_compare_and_hash_by_their_values(config: Config) -> None:
    assert config == Config(["export"], **NESTED)
    assert config != Config(["export"])
    assert config != Config(["export", "msg"], **NESTED)
    assert {config, Config(["export"], **NESTED)} == {config}


def test_nested_values_are_dictionaries_and_lists(config: Config) -> None:
    options = config.broker_transport_options

    assert isinstance(options, dict)
    assert json.loads(json.dumps(options)) == options
    assert dict(**options)["region"] == "us-west-2"
    assert config.accept_content == ["json"]


def test_celery_changes_only_the_app(config: Config) -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(config)
    app.conf.task_track_started = False
    app.conf.update(broker_transport_options={"region": "x"})

    assert app.conf.task_track_started is False
    assert app.conf.broker_transport_options == {"region": "x"}
    assert config == Config(["export"], **NESTED)


@pytest.mark.parametrize("is_configured", [False, True])
def test_celery_can_add_periodic_tasks(config: Config, is_configured: bool) -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(config, force=is_configured)

    @app.task(name="export.seldom", shared=False)
    def seldom() -> None: ...

    app.add_periodic_task(3600.0, seldom.s(), name="seldom")
    entries = Scheduler(app).schedule

    assert {"often", "seldom"} <= entries.keys()
    assert entries["often"].schedule == schedule(10)
    assert entries["often"].args == (1,)


def test_kombu_can_add_the_host_name_to_the_tls_options() -> None:
    config = Config(["export"], broker_use_ssl={"server_hostname": None})
    app = Celery("export", set_as_current=False)
    app.config_from_object(config)
    # Nothing listens on port 1, but kombu adds the name before it connects.
    connection = app.connection_for_write("amqp://127.0.0.1:1//")
    with pytest.raises(ConnectionRefusedError):
        connection.transport.establish_connection()

    assert connection.ssl == {"server_hostname": "127.0.0.1"}
