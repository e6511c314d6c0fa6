from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import assert_type

import pytest

from cadasta.workertoolbox.conf import (
    Config,
    InvalidValue,
    UnknownSetting,
)
from cadasta.workertoolbox.routing import FrozenSettings, InvalidQueues, InvalidSetting


def test_a_copy_without_changes_is_equal() -> None:
    config = Config(["export"], task_acks_late=True, CHORD_UNLOCK_MAX_RETRIES=3)

    assert config.copy() == config
    assert config.copy() is not config


def test_a_copy_has_the_changes_and_the_original_does_not() -> None:
    config = Config(["export"], task_acks_late=True)
    other = config.copy(["msg"], task_track_started=False, QUEUE_PREFIX="live")

    assert other == Config(
        ["msg"], task_acks_late=True, task_track_started=False, QUEUE_PREFIX="live"
    )
    assert other.broker_transport_options["queue_name_prefix"] == "live-"
    assert config == Config(["export"], task_acks_late=True)


def test_templates_are_rendered_again_from_changed_variables() -> None:
    config = Config(["export"], RESULT_DB_PASS="{0.RESULT_DB_HOST}", RESULT_DB_PORT=1)
    other = config.copy(RESULT_DB_HOST="db", RESULT_DB_PASS="@").copy(
        RESULT_DB_NAME="x"
    )

    assert other.result_backend == (
        "workertoolbox+postgresql+psycopg2://worker:%40@db:1/x"
    )
    other = config.copy(result_backend="db+x://{0.RESULT_DB_PORT}")
    assert other.copy(RESULT_DB_PORT=2).result_backend == "db+x://2"


def test_a_changed_limit_for_chords_replaces_the_first() -> None:
    config = Config(["export"], CHORD_UNLOCK_MAX_RETRIES=3)

    assert config.copy(CHORD_UNLOCK_MAX_RETRIES=5).task_annotations == [
        {"celery.chord_unlock": {"max_retries": 5}}
    ]
    assert "task_annotations" not in config.copy(CHORD_UNLOCK_MAX_RETRIES=None)


def test_changes_are_checked() -> None:
    config = Config(["export"])

    with pytest.raises(UnknownSetting, match="'broker_url'"):
        config.copy(BROKER_URL="sqs://")
    with pytest.raises(InvalidValue, match="RESULT_DB_PORT='x'"):
        config.copy(RESULT_DB_PORT="x")
    with pytest.raises(InvalidSetting, match="JSON only"):
        config.copy(task_serializer="pickle")
    with pytest.raises(InvalidQueues, match="empty"):
        config.copy([])
    with pytest.raises(InvalidValue, match="both given"):
        config.copy(["a"], QUEUES=["b"])
    with pytest.raises(FrozenSettings):
        config.copy().broker_url = "x"


def test_a_copy_does_not_read_the_environment_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXPORT_QUEUES", "export")
    monkeypatch.setenv("EXPORT_TASK_ACKS_LATE", "true")
    config = Config(ENV_PREFIX="EXPORT")
    monkeypatch.setenv("EXPORT_QUEUES", "msg")
    monkeypatch.setenv("EXPORT_NOTHING", "")
    monkeypatch.delenv("EXPORT_TASK_ACKS_LATE")

    assert config.copy() == config
    assert config.copy().ENV_PREFIX == "EXPORT"
    with pytest.raises(
        InvalidValue, match="ENV_PREFIX='X'.*does not read the environment"
    ):
        config.copy(ENV_PREFIX="X")


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_a_deep_copy_and_a_pickle_can_be_copied_with_changes(
    copied: Callable[[Config], Config],
) -> None:
    config = Config(["export"], result_backend="db+x://{0.RESULT_DB_PORT}")

    assert copied(config).copy(RESULT_DB_PORT=1).result_backend == "db+x://1"


def test_a_copy_of_an_embedded_configuration_keeps_its_folder_and_class(
    tmp_path: Path,
) -> None:
    class Service(Config):
        """A configuration of one service."""

    config = Service.embedded(["export"], tmp_path)
    other = config.copy(task_acks_late=True)

    assert type(other) is Service
    assert other == Config.embedded(["export"], tmp_path, task_acks_late=True)


def test_mypy_knows_the_types_of_the_variables() -> None:
    config = Config(["export"])

    assert assert_type(config.QUEUES, tuple[str, ...]) == ("export",)
    assert assert_type(config.PLATFORM_QUEUE_NAME, str) == "platform.fifo"
    assert assert_type(config.RESULT_DB_PORT, str | int) == 5432
    assert assert_type(config.MAX_ARGUMENT_BYTES, int | None) is None
    assert assert_type(config.copy(), Config) == config
