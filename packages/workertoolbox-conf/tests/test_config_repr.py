from __future__ import annotations

from collections.abc import Callable
from pprint import pformat
from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import Config

SECRETS: list[dict[str, Any]] = [
    {"RESULT_DB_PASS": "geheim"},
    {"RESULT_DB_PASS": "ge/heim@{}"},
    {"result_backend": "db+postgresql+psycopg2://me:geheim@db/workers"},
    {"broker_url": "amqp://me:geheim@one//"},
    {"broker_url": "amqp://me:geheim@one//;amqp://me:geheim@two//"},
    {"broker_url": ["amqp://me:geheim@one//", "amqp://me:geheim@two//"]},
    {"broker_transport_options": {"sentinel_kwargs": {"password": "geheim"}}},
    {
        "broker_transport_options": {
            "predefined_queues": {
                name: {"url": "", "secret_access_key": "geheim"}
                for name in ("celery", "export", "platform.fifo")
            }
        }
    },
    {"stripe_key": "geheim"},
    {"stripekey": "geheim"},
    {"geo_api": "geheim"},
    {"passes": ["geheim"]},
    {"warehouse_database": "geheim"},
    {"beat_dburi_copy": "geheim"},
    {"payments": {"live": {"stripekey": "geheim"}}},
]


@pytest.mark.parametrize("settings", SECRETS, ids=str)
@pytest.mark.parametrize("show", [repr, str, pformat])
def test_the_repr_shows_no_secret(
    settings: dict[str, Any], show: Callable[[Config], str]
) -> None:
    shown = show(Config(["export"], **settings))

    assert "heim" not in shown
    assert "********" in shown


@pytest.mark.parametrize("settings", SECRETS, ids=str)
def test_the_bug_report_of_celery_shows_no_secret(settings: dict[str, Any]) -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"], **settings))
    report = app.bugreport()

    assert "export" in report
    assert "heim" not in report


def test_the_repr_shows_settings_of_celerys_that_its_bug_report_hides() -> None:
    shown = repr(Config(["export"], database_short_lived_sessions=True))

    assert "task_default_routing_key='celery'" in shown
    assert "database_short_lived_sessions=True" in shown


def test_the_repr_shows_only_the_lowercase_settings() -> None:
    shown = repr(Config(["export"]))

    assert shown.startswith("Config(")
    assert "broker_url='sqs://'" in shown
    assert "RESULT_DB_HOST" not in shown
