"""Entries of beat's schedule whose tasks are refused do not disturb the others."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cadasta.workertoolbox.results import TaskStore, upgrade
from support.polling import wait_until
from support.processes import running

SERVICE = """
from celery import Celery
from cadasta.workertoolbox.conf import Config
app = Celery("service")
app.config_from_object(Config.embedded(["export"]))
app.conf.beat_schedule = {
    name: {"task": "export.note", "schedule": 1.0, "options": options}
    for name, options in %r.items()
}
"""

#: The options of each entry, with words of the reason why its task is refused.
REFUSED = {
    "to-a-queue": ({"queue": "exprot"}, "queue 'exprot' is not declared"),
    "to-an-exchange": ({"exchange": "media"}, "exchange 'media'"),
    "in-yaml": ({"serializer": "yaml"}, "serializer='yaml'"),
    "with-an-id": ({"task_id": "i" * 200}, "limit of 155"),
}


def test_a_refused_entry_is_one_line_that_names_it_and_beat_sends_the_others(
    tmp_path: Path,
) -> None:
    refused = {name: options for name, (options, _) in REFUSED.items()}
    schedule = {**refused, "valid": {"shadow": "valid"}}
    (tmp_path / "service.py").write_text(SERVICE % schedule, "utf-8")
    backend = f"workertoolbox+sqlite:///{tmp_path}/.workertoolbox/results.sqlite3"
    (tmp_path / ".workertoolbox").mkdir(mode=0o700)
    upgrade(backend)
    celery = [sys.executable, "-m", "celery", "-A", "service"]
    options = ["--pidfile=", "-S", "celery.beat:Scheduler", "--max-interval", "1"]
    with (
        running([*celery, "tasks", "monitor"], folder=tmp_path, name="monitor"),
        running([*celery, "beat", *options], folder=tmp_path, name="beat") as process,
        TaskStore(backend) as store,
    ):
        wait_until(lambda: len(list(store.list())) >= 2)
        process.stop()
        tasks = list(store.list())

    assert {task.name for task in tasks} == {"export.note"}
    assert "Traceback" not in process.text
    assert "Message Error" not in process.text
    errors = [line for line in process.text.splitlines() if "ERROR" in line]
    for name, (_, reason) in REFUSED.items():
        lines = [line for line in errors if f"scheduled task {name}:" in line]
        assert lines
        assert all(reason in line for line in lines)
    assert all(re.search("scheduled task (to|in|with)-", line) for line in errors)
