"""A service that was written for `cadasta-workertoolbox` 0.6 still runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cadasta.workertoolbox.results import TaskStore, upgrade
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, running
from support.publisher_scripts import run_script
from support.queue_contents import QueueContents
from support.routing_processes import WORKER

#: Publishes a task with a callback; prints its id and a setting of that release.
PUBLISH = """\
from legacy_service import app

result = app.send_task("export.project", link=app.signature("msg.notify"))
print(result.id, app.tasks["celery.chord_unlock"].max_retries)
"""


@pytest.mark.parametrize("queues", ["rabbitmq", "redis", "sqs"], indirect=True)
def test_a_task_passes_its_followups_on_to_another_task(
    queues: QueueContents, tmp_path: Path
) -> None:
    environment = {
        "WORKERTOOLBOX_BROKER_URL": queues.access.url,
        "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS": json.dumps(
            queues.access.transport_options
        ),
        "OLD_DATABASE": str(tmp_path / "results.sqlite3"),
        "OLD_JOURNAL": str(tmp_path / "journal"),
    }
    database = f"workertoolbox+sqlite:///{tmp_path / 'results.sqlite3'}"
    upgrade(database)
    id, max_retries = run_script(PUBLISH, environment=environment)
    with running(
        [
            sys.executable,
            SERVICE_FOLDER / "legacy_service.py",
            "worker",
            *WORKER,
            "-c",
            "1",
        ],
        folder=tmp_path,
        environment=environment,
        name="worker",
    ):
        done = wait_until(lambda: journal_lines(tmp_path, 3))

    assert done == ["project", "pack", "a folder, packed"]
    assert max_retries == "60"
    assert len(queues.messages("monitor")) == 3
    with TaskStore(database) as store:
        assert store.get(id).status == "SUCCESS"


def journal_lines(folder: Path, count: int) -> list[str]:
    """Return the lines of the journal.

    Raises:
        AssertionError: There are fewer than `count`.
    """
    journal = folder / "journal"
    found = journal.read_text("utf-8").splitlines() if journal.exists() else []
    assert len(found) >= count, found
    return found
