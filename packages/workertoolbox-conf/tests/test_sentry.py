from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import Config, InvalidValue
from cadasta.workertoolbox.conf._logging import sentry

#: Prints whether a configured app has loaded the SDK.
PROGRAM = """
import sys
from celery import Celery
from cadasta.workertoolbox.conf import Config

app = Celery("export")
app.config_from_object(Config(["export"]))
print(app.conf.SENTRY, "sentry_sdk" in sys.modules)
"""

#: Prints the event of a task that fails, as a service's own `init` sends it.
OWN_INIT = """
import json
import sys
import sentry_sdk
from celery import Celery
from cadasta.workertoolbox.conf import sentry_options

class Printer(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope):
        if event := envelope.get_event():
            print(json.dumps(event))

dsn = "https://key@sentry/1"
sentry_sdk.init(dsn, **sentry_options(), release="own", transport=Printer)
app = Celery("export")

@app.task(name="export.fail")
def fail(password):
    sentry_sdk.get_isolation_scope().set_extra("keys", [{"password": password}])
    raise LookupError(f"no answer of amqp://me:{password}@mq//")

fail.apply((sys.argv[1],), task_id="one", routing_key="export")
"""


def configured(**settings: Any) -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"], **settings))
    return app


def test_sentry_is_wanted_with_a_dsn_unless_a_setting_disables_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SENTRY_DSN", raising=False)
    assert not sentry.is_wanted(configured().conf)

    monkeypatch.setenv("SENTRY_DSN", "https://key@sentry/1")
    assert sentry.is_wanted(configured().conf)
    assert not sentry.is_wanted(configured(SENTRY=False).conf)
    assert not sentry.is_wanted(Celery("other", set_as_current=False).conf)


def test_a_setting_that_is_not_a_boolean_is_an_error() -> None:
    with pytest.raises(InvalidValue, match="SENTRY='https://key@sentry/1'"):
        Config(["export"], SENTRY="https://key@sentry/1")  # type: ignore[arg-type]


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
def test_an_invalid_dsn_is_reported_without_its_key(
    monkeypatch: pytest.MonkeyPatch, dsn: str, shown: str
) -> None:
    monkeypatch.setenv("SENTRY_DSN", dsn)
    problem = sentry.start()

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


def test_a_lost_connection_is_sent_and_the_body_of_a_message_is_not() -> None:
    name = "celery.worker.consumer.consumer"
    lost = logging.LogRecord(name, 40, "", 0, "consumer: Cannot connect", (), None)
    body = logging.LogRecord(name, 40, "", 0, "the body was: %s", ("x",), None)
    event = sentry._before_send({}, {"log_record": body})

    assert sentry._before_breadcrumb({}, {"log_record": body}) is None
    assert sentry._before_breadcrumb({}, {"log_record": lost}) == {"data": {}}
    assert event is not None
    assert event["logentry"]["formatted"] == "the body was: %s"


def test_a_service_can_use_the_options_for_its_own_init() -> None:
    # Not in the program: from Python 3.13 on, a traceback shows the lines of `-c`.
    command = [sys.executable, "-c", OWN_INIT, "geheim"]
    output = subprocess.check_output(command, text=True)
    event = json.loads(output)

    assert "geheim" not in output
    assert "amqp://me:********@mq//" in output
    assert event["release"] == "own"
    assert event["transaction"] == "export.fail"
    assert event["extra"] == {"keys": [{"password": "[Filtered]"}]}
    assert event["tags"] == {
        "celery_task_id": "one",
        "task_id": "one",
        "root_id": "one",
        "queue": "export",
        "task_name": "export.fail",
        "retries": "0",
    }
