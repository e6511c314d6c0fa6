"""The archiver makes way for a busy monitor, but not without a bound."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

import pytest
from celery import states
from closing import make_older, publish, statuses, store_state
from sqlalchemy import create_engine

from cadasta.workertoolbox.results._database.statuses import LOST
from cadasta.workertoolbox.results._history import lost_tasks, tidying
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


def test_a_run_to_the_end_looks_at_all_rows(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_tasks, "STEP_SIZE", 2)
    monkeypatch.setattr(tidying, "STEP_SIZE", 1)
    for number in range(5):
        id = str(number)
        publish(backend, id=id, timelimit=[60 if id == "4" else 864_000, None])
        store_state(backend, id, states.STARTED)
        make_older(backend, id, date_done=timedelta(hours=5 - number))
    engine = create_engine(backend.database.engine.url)
    once = Archiving(engine, ArchiveOptions(), should_stop=lambda: False)
    once.run_once()
    before = statuses(backend, "04")
    # Each cron job is a new process.
    once = Archiving(engine, ArchiveOptions(), should_stop=lambda: False)
    once.run_once(to_end=True)
    engine.dispose()

    assert before == [states.STARTED, states.STARTED]
    assert statuses(backend, "04") == [states.STARTED, LOST]
    assert not once.met_another
