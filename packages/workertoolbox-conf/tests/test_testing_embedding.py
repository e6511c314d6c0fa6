"""An app that is moved to a folder for a test, and moved back."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.app import app_or_default

from cadasta.workertoolbox.conf import Config, InvalidFolder, NotConfigured
from cadasta.workertoolbox.conf.testing import (
    assert_tracked,
    embedded,
    running_monitor,
    running_worker,
)


@pytest.fixture
def app() -> Celery:
    """A service on SQS and PostgreSQL, which the tests must not connect to."""
    app = Celery("export", set_as_current=False)
    app.config_from_object(
        Config(
            ["export"],
            broker_url="sqs://",
            broker_read_url="sqs://",
            broker_write_url="sqs://",
            broker_transport="sqs",
            broker_transport_options={"region": "eu-west-1"},
            task_always_eager=True,
        )
    )
    app.task(name="export.double", shared=False)(_double)
    return app


def _double(number: int) -> int:
    return 2 * number


def _state(app: Celery) -> dict[str, Any]:
    private: Any = app
    return {
        "settings": {name: app.conf[name] for name in app.conf},
        "broker_url": app.conf.broker_url,
        "result_backend": app.conf.result_backend,
        "amqp": app.amqp,
        "backend": app.backend,
        "pool": private._pool,
        "current": app_or_default(),
        "environment": dict(os.environ),
        # The result backend keeps an idle thread for each database.
        "threads": {
            thread.name
            for thread in threading.enumerate()
            if "_write_pending" not in thread.name
        },
    }


def _open_files(folder: Path) -> list[str]:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [target for target in targets if target.startswith(str(folder))]


def test_a_task_that_was_imported_earlier_uses_the_folder(
    app: Celery, tmp_path: Path
) -> None:
    task = app.tasks["export.double"]
    with embedded(app, tmp_path), running_worker(app), running_monitor(app):
        result = task.delay(21)

        assert result.get(timeout=10) == 42
        assert_tracked(app, result)
    assert tmp_path.joinpath("results.sqlite3").is_file()


def test_celerys_environment_variables_are_ignored(
    app: Celery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
        monkeypatch.setenv(f"CELERY_{name}", "amqp://127.0.0.1:1")
    with embedded(app, tmp_path):
        assert app.connection_for_read().transport_cls == "filesystem"
        assert app.connection_for_write().transport_cls == "filesystem"
        assert app.conf.result_backend.startswith("workertoolbox+sqlite:")
    assert app.conf.broker_write_url == "amqp://127.0.0.1:1"
    assert app.conf.result_backend == "amqp://127.0.0.1:1"


def test_given_settings_apply_inside_the_block_only(
    app: Celery, tmp_path: Path
) -> None:
    with embedded(app, tmp_path, task_acks_late=True, worker_prefetch_multiplier=7):
        assert app.conf.task_acks_late is True
        assert app.conf.worker_prefetch_multiplier == 7
    assert app.conf.task_acks_late is False


def test_everything_is_restored_at_the_end(app: Celery, tmp_path: Path) -> None:
    before = _state(app)
    with embedded(app, tmp_path), running_worker(app), running_monitor(app):
        app.tasks["export.double"].delay(1).get(timeout=10)
        assert _open_files(tmp_path) != []

    assert {k: v for k, v in _state(app).items() if v != before[k]} == {}
    assert _open_files(tmp_path) == []


def test_everything_is_restored_after_an_error(app: Celery, tmp_path: Path) -> None:
    before = _state(app)
    with (
        pytest.raises(ZeroDivisionError),
        embedded(app, tmp_path),
        running_worker(app),
        running_monitor(app),
    ):
        app.tasks["export.double"].delay(1).get(timeout=10)
        _ = 1 / 0

    assert {k: v for k, v in _state(app).items() if v != before[k]} == {}
    assert _open_files(tmp_path) == []


def test_an_app_can_use_several_folders_in_turn(app: Celery, tmp_path: Path) -> None:
    for name in ("first", "second"):
        with embedded(app, tmp_path / name), running_worker(app):
            assert app.tasks["export.double"].delay(3).get(timeout=10) == 6


def test_an_app_without_the_toolbox_is_an_error(tmp_path: Path) -> None:
    app = Celery("plain", set_as_current=False)
    with (
        pytest.raises(NotConfigured, match="'plain' is not configured .*Config"),
        embedded(app, tmp_path),
    ):
        pytest.fail("not reached")


def test_an_invalid_folder_changes_nothing(app: Celery, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidFolder), embedded(app, tmp_path / "file"):
        pytest.fail("not reached")

    assert app.conf.broker_url == "sqs://"
