from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import Config, InvalidValue
from cadasta.workertoolbox.conf._logging import sentry as _sentry

#: Prints whether a configured app has loaded the SDK.
PROGRAM = """
import sys
from celery import Celery
from cadasta.workertoolbox.conf import Config

app = Celery("export")
app.config_from_object(Config(["export"]))
print(app.conf.SENTRY, "sentry_sdk" in sys.modules)
"""


def configured(**settings: Any) -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"], **settings))
    return app


def test_it_is_wanted_where_there_is_a_dsn_and_no_setting_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SENTRY_DSN", raising=False)
    assert not _sentry.is_wanted(configured().conf)

    monkeypatch.setenv("SENTRY_DSN", "https://key@sentry/1")
    assert _sentry.is_wanted(configured().conf)
    assert not _sentry.is_wanted(configured(SENTRY=False).conf)
    assert not _sentry.is_wanted(Celery("other", set_as_current=False).conf)


def test_another_switch_than_a_boolean_is_refused() -> None:
    with pytest.raises(InvalidValue, match="SENTRY='https://key@sentry/1'"):
        Config(["export"], SENTRY="https://key@sentry/1")


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("https://geheim@sentry/project", "https://********@sentry/project"),
        ("https://me:geheim@sentry/project", "https://********@sentry/project"),
        ("geheim@sentry/1", "********@sentry/1"),
        ("https://geheim@sentry:port/1", "https://********@sentry:port/1"),
        ("https://sentry/1", "https://sentry/1"),
    ],
)
def test_what_is_no_dsn_is_named_without_its_key(
    monkeypatch: pytest.MonkeyPatch, dsn: str, shown: str
) -> None:
    monkeypatch.setenv("SENTRY_DSN", dsn)
    problem = _sentry.start()

    assert problem is not None
    assert f"SENTRY_DSN={shown!r}" in problem
    assert "SENTRY=False" in problem
    assert "geheim" not in problem


def test_a_configuration_does_not_load_the_sdk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SENTRY_DSN", "https://key@sentry/1")
    output = subprocess.check_output([sys.executable, "-c", PROGRAM], text=True)

    assert output.split() == ["True", "False"]


def test_the_log_of_a_lost_connection_is_kept_and_that_of_a_body_is_not() -> None:
    name = "celery.worker.consumer.consumer"
    lost = logging.LogRecord(name, 40, "", 0, "consumer: Cannot connect", (), None)
    body = logging.LogRecord(name, 40, "", 0, "the body was: %s", ("x",), None)
    event = _sentry._before_send({}, {"log_record": body})

    assert _sentry._before_breadcrumb({}, {"log_record": body}) is None
    assert _sentry._before_breadcrumb({}, {"log_record": lost}) == {"data": {}}
    assert event is not None
    assert event["logentry"]["formatted"] == "the body was: %s"
