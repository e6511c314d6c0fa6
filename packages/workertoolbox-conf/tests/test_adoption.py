from __future__ import annotations

import json
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.defaults import DEFAULTS
from click.testing import CliRunner
from kombu import Exchange, Queue

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.conf.adoption._command import command
from cadasta.workertoolbox.routing import track

SETTINGS: dict[str, Any] = {
    "broker_url": "amqp://shop:s3cret@rabbit//",
    "result_backend": "db+postgresql://shop:s3cret@db/shop",
    "task_queues": [
        Queue("mail.send", Exchange("mail", type="topic"), "mail.#"),
        Queue("orders", queue_arguments={"x-max-priority": 9}),
    ],
    "task_routes": {"reports.*": {"queue": "reports"}},
    "task_acks_late": True,
    "timezone": "Europe/Berlin",
    "redbeat_redis_url": "redis://schedule",
}


def by_object(settings: dict[str, Any]) -> Celery:
    app = Celery("shop", set_as_current=False)
    app.config_from_object(SimpleNamespace(**settings))
    return app


def by_namespace(settings: dict[str, Any]) -> Celery:
    app = Celery("shop", set_as_current=False)
    upper = {f"CELERY_{name.upper()}": value for name, value in settings.items()}
    app.config_from_object(SimpleNamespace(DEBUG=True, **upper), namespace="CELERY")
    return app


def by_update(settings: dict[str, Any]) -> Celery:
    app = Celery("shop", set_as_current=False)
    app.conf.update(settings)
    return app


def by_update_with_namespace(settings: dict[str, Any]) -> Celery:
    app = by_namespace({})
    app.conf.update({f"CELERY_{name.upper()}": each for name, each in settings.items()})
    return app


def by_keywords(settings: dict[str, Any]) -> Celery:
    broker, backend = settings["broker_url"], settings["result_backend"]
    app = Celery("shop", broker=broker, backend=backend, set_as_current=False)
    assert app.conf.timezone is None  # From now on, the configuration is not pending.
    app.conf.update(settings)
    return app


@pytest.mark.parametrize(
    "configure",
    [by_object, by_namespace, by_update, by_update_with_namespace, by_keywords],
)
def test_a_configuration_made_from_an_app_keeps_what_the_app_has(
    configure: Any,
) -> None:
    app = configure(SETTINGS)
    app.config_from_object(Config.from_app(app, ["extra"], RETENTION={}))

    assert list(app.amqp.queues) == [
        "celery",
        "mail.send",
        "orders",
        "extra",
        "reports",
        "platform.fifo",
    ]
    assert app.conf.broker_url == SETTINGS["broker_url"]
    assert app.conf.result_backend == (
        "workertoolbox+postgresql+psycopg2://shop:s3cret@db/shop"
    )
    assert app.conf.task_acks_late is True
    assert app.conf.timezone == "Europe/Berlin"
    assert app.conf.redbeat_redis_url == "redis://schedule"
    assert app.amqp.router.route({}, "reports.day", (), {})["queue"].name == "reports"
    assert app.amqp.queues["orders"].queue_arguments == {"x-max-priority": 9}


def test_a_setting_that_is_given_with_the_value_of_celerys_default_is_kept() -> None:
    given = {"worker_prefetch_multiplier": 4, "result_expires": timedelta(days=1)}
    app = by_object({"broker_url": "redis://", **given})
    config = Config.from_app(app)

    assert {name: config[name] for name in given} == given
    assert config["broker_connection_retry_on_startup"] is True


@pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")
@pytest.mark.parametrize("configure", [by_object, by_namespace])
def test_all_of_celerys_defaults_can_be_given(configure: Any) -> None:
    config = Config.from_app(configure({**DEFAULTS, "broker_url": "amqp://"}))

    assert config["worker_prefetch_multiplier"] == 4


def test_periodic_tasks_of_an_app_are_kept() -> None:
    app = by_update({"broker_url": "redis://"})
    app.add_periodic_task(60, app.signature("note"), name="each minute")
    app.config_from_object(Config.from_app(app))

    assert list(app.conf.beat_schedule) == ["each minute"]


def test_what_is_not_a_setting_in_a_module_of_settings_is_left_out() -> None:
    module = ModuleType("celeryconfig")
    names = {"json": json, "task_queus": 1, "queues": [], "debug": True, "f": print}
    vars(module).update({"broker_url": "redis://", **names})
    app = Celery("shop", set_as_current=False)
    app.config_from_object(module)
    config = Config.from_app(app)

    assert config["debug"] is True
    assert names.keys() & config.keys() == {"debug"}


def test_queues_on_sqs_keep_their_names_and_their_region() -> None:
    app = by_object({"broker_url": "sqs://"})
    options = Config.from_app(app).broker_transport_options

    assert (options["queue_name_prefix"], options["region"]) == ("", None)


@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
@pytest.mark.parametrize("configure", [by_object, by_namespace])
def test_the_command_prints_a_plan_and_changes_nothing(configure: Any) -> None:
    app = configure(SETTINGS)
    app.task(name="a", queue="of.task", shared=False)(by_object)
    app.task(name="b", queue="reports", shared=False)(by_object)
    before = dict(app.conf.items())
    result = CliRunner().invoke(
        command, ["--queue", "extra"], obj=SimpleNamespace(app=app)
    )
    lines = [" ".join(line.split()) for line in result.output.splitlines()]

    assert result.exit_code == 0, result.output
    assert 'app.config_from_object(Config.from_app(app, ["extra", "of.task"]))' in lines
    assert "of.task as before; new: task_exchange by its name" in lines
    assert "mail.send mail (topic) by 'mail.#'; new: task_exchange by its name" in lines
    assert any("write track(app, [" in line for line in lines)
    assert any("again as a retry, which max_retries limits" in line for line in lines)
    assert "broker_transport_options.confirm_publish: None → True" in result.output
    assert not any("Router(" in line or "region" in line for line in lines)
    assert "platform.fifo new: a copy of every task" in lines
    assert any(line.startswith("task_track_started: False → True") for line in lines)
    assert "s3cret" not in result.output
    assert "deployed together" not in result.output
    assert not any(word in result.output for word in ("chord", "backend_cleanup"))
    assert dict(app.conf.items()) == before


def test_the_plan_says_that_results_move_from_another_backend() -> None:
    app = by_object({**SETTINGS, "result_backend": "redis://localhost"})
    result = CliRunner().invoke(command, obj=SimpleNamespace(app=app))

    assert "deployed together with the workers" in result.output
    assert "No chord may be running while results move" in result.output
    assert "beat gets the entry celery.backend_cleanup" in result.output
    assert "WORKERTOOLBOX_RESULT_DB_PASS" in result.output
    assert "untracked unless they went through a topic exchange" in result.output


def test_the_plan_of_an_app_on_redis_leaves_out_options_of_other_brokers() -> None:
    app = by_object({"broker_url": "redis://"})
    result = CliRunner().invoke(command, obj=SimpleNamespace(app=app))
    options = [each for each in result.output.splitlines() if "_options" in each]

    assert any("socket_timeout: None → 30 (seconds" in option for option in options)
    assert not any("prefix" in each or "confirm" in each for each in options)


def test_an_app_that_has_adopted_the_toolbox_needs_no_plan() -> None:
    app = by_object(SETTINGS)
    app.config_from_object(Config.from_app(app))
    result = CliRunner().invoke(command, obj=SimpleNamespace(app=app))

    assert result.exit_code == 0
    assert "'shop' is configured with the toolbox already; nothing" in result.output


def test_the_plan_of_a_tracked_app_is_to_move_its_results() -> None:
    app = by_object({**SETTINGS, "result_backend": "redis://"})
    track(app, ["extra"])
    before = dict(app.conf.items())
    result = CliRunner().invoke(command, obj=SimpleNamespace(app=app))
    _, _, changes = result.output.partition("Settings that change:")
    changes, _, order = changes.partition("Deploy in this order:")

    assert result.exit_code == 0
    assert "is tracked already" in result.output
    assert "write Config.from_app(app) in the place of track" in result.output
    assert "result_backend: 'redis://' → 'workertoolbox+postgresql+" in changes
    assert "task_track_started: False → True" in changes
    assert not any(word in changes for word in ("default_exchange", "consumer:"))
    assert "No chord may be running" in order
    assert "beat gets the entry celery.backend_cleanup" in order
    assert "WORKERTOOLBOX_RESULT_DB_PASS" in order
    assert dict(app.conf.items()) == before


def test_an_app_that_cannot_be_tracked_is_an_error_of_the_command() -> None:
    app = by_object({**SETTINGS, "task_serializer": "pickle"})
    result = CliRunner().invoke(command, obj=SimpleNamespace(app=app))

    assert result.exit_code == 1
    assert "task_serializer='pickle'" in result.output
