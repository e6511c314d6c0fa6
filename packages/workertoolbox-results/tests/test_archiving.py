"""The archiver makes way for a busy monitor, but not without a bound."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from celery import states
from sqlalchemy import create_engine

from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor import archiving
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from cadasta.workertoolbox.results.backend import Backend


def archive_one_by_one(backend: Backend) -> Sequence[str]:
    """Archive three tasks beside a busy monitor; return what the archiver asked."""
    for id in ("a", "b", "c"):
        backend.store_result(id, 42, states.SUCCESS)
    asked: list[str] = []

    def is_busy() -> bool:
        asked.append("is busy")
        return True

    engine = create_engine(backend.database.engine.url)
    archiver = Archiving(
        engine,
        ArchiveOptions(delay_s=0, batch_size=1),
        should_stop=lambda: False,
        is_busy=is_busy,
    )

    assert archiver.run_once(rests=True) == 3
    engine.dispose()
    return asked


def test_the_archiver_makes_way_after_each_batch(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(archive_one_by_one(backend)) == 3
    assert "caught up" not in caplog.text


def test_an_archiver_that_stays_behind_no_longer_makes_way(
    backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "MAX_BEHIND_S", 0.0)

    with caplog.at_level(logging.WARNING):
        assert archive_one_by_one(backend) == []
    assert caplog.text.count("has not caught up") == 1


def test_a_run_ends_although_tasks_end_all_the_time(backend: Backend) -> None:
    ended = 0

    def should_stop() -> bool:
        nonlocal ended
        backend.store_result(f"task-{ended}", 42, states.SUCCESS)
        ended += 1
        return ended > 20

    engine = create_engine(backend.database.engine.url)
    options = ArchiveOptions(delay_s=0, batch_size=10)
    archived = Archiving(engine, options, should_stop=should_stop).run_once()
    engine.dispose()

    assert archived == ended == 1
