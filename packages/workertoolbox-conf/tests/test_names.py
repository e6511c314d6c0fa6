from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import (
    Config,
    UnknownSetting,
)


def given(name: str) -> dict[str, Any]:
    """Return keywords with a setting of this name."""
    return {name: "x"}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("RESULT_DB_PASSWORD", "RESULT_DB_PASS"),
        ("QUEUE_PREFX", "QUEUE_PREFIX"),
        ("ENV_PREFX", "ENV_PREFIX"),
        ("BROKER_URL", "broker_url"),
        ("CELERY_RESULT_BACKEND", "result_backend"),
        ("Task_acks_late", "task_acks_late"),
    ],
)
def test_an_unknown_uppercase_name_is_an_error_that_suggests_a_similar_one(
    name: str, known: str
) -> None:
    with pytest.raises(UnknownSetting, match=f"'{name}'.*'{known}'"):
        Config(["export"], **given(name))


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("CELERY_TASK_SERIALIZER", "task_serializer"),
        ("CELERY_TASK_RESULT_EXPIRES", "result_expires"),
        ("CELERY_QUEUES", "task_queues"),
        ("CELERY_ACCEPT_CONTENT", "accept_content"),
        ("CELERYD_CONCURRENCY", "worker_concurrency"),
        ("CELERY_WORKER_CONCURRENCY", "worker_concurrency"),
        ("CELERYBEAT_SCHEDULE", "beat_schedule"),
        ("BROKER_URL", "broker_url"),
        ("celery_result_backend", "result_backend"),
    ],
)
def test_an_old_name_is_an_error_that_gives_the_new_one(name: str, new: str) -> None:
    with pytest.raises(UnknownSetting, match=f"'{name}' is an old name.*'{new}'"):
        Config(["export"], **given(name))


def test_a_setting_of_ones_own_is_kept() -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"], export_folder="/x"))

    assert app.conf.export_folder == "/x"


@pytest.mark.parametrize(
    ("name", "known"),
    [("task_qeues", "task_queues"), ("broker_ulr", "broker_url")],
)
def test_a_misspelled_setting_is_an_error_that_suggests_the_known_one(
    name: str, known: str
) -> None:
    with pytest.raises(UnknownSetting, match=f"'{name}'.*'{known}'"):
        Config(["export"], **given(name))


def test_the_error_about_a_name_that_is_not_similar_to_any_suggests_none() -> None:
    with pytest.raises(
        UnknownSetting, match="'SETUP_LOGGING' is neither .*; remove it"
    ):
        Config(["export"], SETUP_LOGGING=True)
