from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.backends.base import BaseBackend
from kombu.message import Message

from cadasta.workertoolbox.routing._suspects import Suspects, suspect_key

BACKENDS = ("cache+memory://", "disabled")


class UnavailableBackend(BaseBackend):
    """A result backend whose database refuses connections."""

    calls = 0

    def exception_safe_to_retry(self, error: BaseException) -> bool:
        return isinstance(error, ConnectionError)

    def _restore_group(self, group_id: str) -> None:
        UnavailableBackend.calls += 1
        raise ConnectionRefusedError("connection refused")


@pytest.fixture(params=BACKENDS)
def app(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Celery:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Celery("app", backend=request.param, set_as_current=False)


def message(**headers: Any) -> Message:
    return Message(body="[[], {}, {}]", headers=headers)


def test_the_mark_of_a_worker_that_ended_is_found(app: Celery) -> None:
    key = suspect_key(message(id="1"))

    assert not Suspects(app).begin(key)
    assert Suspects(app).begin(key)
    assert not Suspects(app).begin(suspect_key(message(id="2")))


def test_the_mark_of_a_handled_message_is_removed(app: Celery) -> None:
    key = suspect_key(message(id="3"))
    suspects = Suspects(app)
    suspects.begin(key)
    suspects.end(key)

    assert not Suspects(app).begin(key)


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    app = Celery("app", backend="disabled", set_as_current=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"workertoolbox-{os.getuid()}").symlink_to(elsewhere)
    with caplog.at_level(logging.WARNING, "cadasta.workertoolbox.routing"):
        Suspects(app).begin(suspect_key(message(id="4")))

    assert list(elsewhere.iterdir()) == []
    assert "belongs to somebody else" in caplog.text


def test_a_message_waits_for_no_retries_of_an_unavailable_backend(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(UnavailableBackend, "calls", 0)
    app = Celery("app", backend=UnavailableBackend, set_as_current=False)
    app.conf.update(result_backend_always_retry=True, result_backend_max_retries=2)
    backend: Any = app.backend
    suspects = Suspects(app)
    with caplog.at_level(logging.WARNING, "cadasta.workertoolbox.routing"):
        assert not suspects.begin("5")
        suspects.end("5")

    assert UnavailableBackend.calls == 1
    assert "cannot mark messages" in caplog.text
    assert backend.always_retry
