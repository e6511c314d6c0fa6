"""The health file follows no links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import Engine
from test_commands import run

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._monitor.health import HealthFile

OLD_S = 1_000_000_000


@pytest.fixture
def engine(store: TaskStore) -> Engine:
    return store.engine


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """An old file that must not change."""
    path = tmp_path / "victim"
    path.write_text("precious")
    os.utime(path, (OLD_S, OLD_S))
    return path


def test_the_file_is_created_updated_and_removed(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "healthy"
    HealthFile(path).touch_if_due(engine)
    os.utime(path, (OLD_S, OLD_S))
    file = HealthFile(path)
    file.touch_if_due(engine)

    assert path.stat().st_mtime > OLD_S
    file.remove()
    assert not path.exists()


@pytest.mark.parametrize("kind", ["link", "hard link", "dangling link", "pipe"])
def test_only_a_file_of_its_own_is_touched(
    engine: Engine,
    tmp_path: Path,
    victim: Path,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "healthy"
    {
        "link": lambda: path.symlink_to(victim),
        "hard link": lambda: path.hardlink_to(victim),
        "dangling link": lambda: path.symlink_to(tmp_path / "nothing"),
        "pipe": lambda: os.mkfifo(path),
    }[kind]()
    file = HealthFile(path)
    file.touch_if_due(engine)
    file.remove()

    assert "health file cannot be touched" in caplog.text
    assert victim.stat().st_mtime == OLD_S
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()
    assert os.path.lexists(path)


def test_a_monitor_refuses_a_link_when_it_starts(
    app: Celery, tmp_path: Path, victim: Path
) -> None:
    path = tmp_path / "healthy"
    path.symlink_to(victim)
    result = run(app, "monitor", "--health-file", str(path))

    assert result.exit_code == 2
    assert "is a link; name another file" in " ".join(result.output.split())
