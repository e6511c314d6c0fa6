from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import Config, OverriddenSetting

OURS = "redis://me:geheim@ours/0"
CELERYS = "redis://me:secret@celerys/0"

OVERRIDDEN: list[tuple[str, dict[str, Any], str]] = [
    ("CELERY_BROKER_URL", {"broker_url": OURS}, "broker_url"),
    ("CELERY_BROKER_URL", {"broker_url": [OURS]}, "broker_url"),
    ("CELERY_BROKER_READ_URL", {"broker_url": OURS}, "broker_url"),
    ("CELERY_BROKER_READ_URL", {"broker_read_url": OURS}, "broker_read_url"),
    ("CELERY_BROKER_WRITE_URL", {"broker_write_url": OURS}, "broker_write_url"),
    ("CELERY_RESULT_BACKEND", {"result_backend": OURS}, "result_backend"),
    (
        "CELERY_RESULT_BACKEND",
        {"result_backend": "redis://me:{0.RESULT_DB_PASS}@ours/0"}
        | {"RESULT_DB_PASS": "geheim"},
        "result_backend",
    ),
]


@pytest.mark.parametrize(("variable", "settings", "name"), OVERRIDDEN)
def test_a_replaced_setting_is_a_warning_that_shows_both_values_masked(
    monkeypatch: pytest.MonkeyPatch, variable: str, settings: dict[str, Any], name: str
) -> None:
    monkeypatch.setenv(variable, CELERYS)
    with pytest.warns(OverriddenSetting) as warned:
        config = Config(["export"], **settings)
    app = Celery("export", set_as_current=False)
    app.config_from_object(config)
    [text] = [str(warning.message) for warning in warned]

    assert f"{variable}='redis://me:********@celerys/0'" in text
    assert f"wins over {name}='redis://me:********@ours/0'" in text
    assert getattr(app.conf, variable.removeprefix("CELERY_").lower()) == CELERYS


def test_a_given_database_that_is_replaced_is_a_warning_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CELERY_RESULT_BACKEND", CELERYS)
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_DB_HOST", "db")
    with pytest.warns(OverriddenSetting, match=r"worker:\*{8}@db:5432/workers"):
        Config(["export"])


@pytest.mark.parametrize(
    ("variable", "settings"),
    [
        ("CELERY_BROKER_URL", {}),
        ("CELERY_BROKER_URL", {"broker_url": CELERYS}),
        ("CELERY_BROKER_URL", {"result_backend": OURS}),
        ("CELERY_RESULT_BACKEND", {}),
        ("CELERY_RESULT_BACKEND", {"result_backend": None}),
        ("CELERY_RESULT_BACKEND", {"broker_url": OURS}),
        ("CELERY_BROKER_READ_URL", {"broker_read_url": CELERYS, "broker_url": OURS}),
    ],
)
def test_there_is_no_warning_if_no_given_value_is_replaced(
    monkeypatch: pytest.MonkeyPatch, variable: str, settings: dict[str, Any]
) -> None:
    monkeypatch.setenv(variable, CELERYS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = Config(["export"], **settings)

    assert config.QUEUES == ("export",)


def test_each_warning_is_shown_once_in_a_process() -> None:
    program = (
        "from cadasta.workertoolbox.conf import Config\n"
        "first = Config(['export'], broker_url='redis://ours')\n"
        "second = Config(['export'], broker_url='redis://ours')\n"
        "second.copy(task_acks_late=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "CELERY_BROKER_URL": CELERYS},
        text=True,
        capture_output=True,
        check=True,
    )

    assert len(re.findall("OverriddenSetting: CELERY_BROKER_URL=", done.stderr)) == 1
    assert "secret" not in done.stderr
