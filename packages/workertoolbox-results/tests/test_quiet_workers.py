from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.exceptions import WorkerShutdown
from celery.signals import celeryd_after_setup

from cadasta.workertoolbox.results._backend import quiet_workers


@pytest.fixture(autouse=True)
def signals() -> None:
    quiet_workers.connect_signals()


def start(result_backend: str, *, quiet: bool) -> None:
    """Send the signal that Celery sends when a worker starts."""
    app = Celery("export", backend=result_backend, set_as_current=False)
    worker = SimpleNamespace(app=app, quiet=quiet)
    celeryd_after_setup.send(sender="worker@host", instance=worker, conf=app.conf)


@pytest.mark.parametrize(
    ("result_backend", "reason"),
    [
        ("workertoolbox+mysql://user:secret@db/tasks", "'mysql' is not a supported"),
        ("workertoolbox+postgresql+nothing://db/tasks", "cannot be loaded"),
        ("nothing.at_all:Backend", "nothing"),
    ],
)
def test_a_quiet_worker_whose_result_backend_cannot_be_loaded_ends_with_one_line(
    caplog: pytest.LogCaptureFixture, result_backend: str, reason: str
) -> None:
    with pytest.raises(WorkerShutdown) as caught:
        start(result_backend, quiet=True)

    assert caught.value.code == 1
    [record] = caplog.records
    assert record.levelno == logging.CRITICAL
    assert reason in record.getMessage()
    assert "secret" not in record.getMessage()
    assert record.exc_info is None


def test_a_worker_that_is_not_quiet_loads_the_result_backend_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start("nothing.at_all:Backend", quiet=False)

    assert caplog.records == []
