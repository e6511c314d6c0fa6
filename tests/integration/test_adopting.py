"""A fleet with queues of its own adopts the toolbox while it runs, and drops it again.

The services of the fleet are processes. The old ones do not import the toolbox.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import NotFound
from celery import Celery, states
from celery.backends.database import DatabaseBackend
from celery.result import AsyncResult

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results import upgrade
from cadasta.workertoolbox.routing import track
from support import fleet_service
from support.documents import ROOT, blocks
from support.polling import wait_until
from support.processes import Process, running
from support.queue_contents import QueueContents, open_queue_contents

PAGE = ROOT / "docs" / "how-to" / "adopting.md"

#: The code with which the page reads the results that old services have in Redis.
[READ_OLD_RESULTS] = (
    block.text
    for block in blocks(PAGE.read_text("utf-8"), "python")
    if "find_old_result" in block.text
)

QUEUES = ("celery", "mail.daily", "old", "video")

#: With two threads, the second run of a task could store its result before the first
#: one has stored that it is retried, and Celery's backends would keep the latter.
WORKER = ("worker", "-P", "threads", "-c", "1", "-l", "INFO", "--without-mingle")
BEAT = ("beat", "-l", "DEBUG", "--pidfile=", "--max-interval", "1")


@dataclass
class Fleet:
    """A fleet on a broker, and the ids of its tasks.

    Attributes:
        sent: The ids of tasks by the service that has sent them.
        ran: The ids of the tasks that have run, by worker.
    """

    contents: QueueContents
    folder: Path
    sent: dict[str, list[str]] = field(default_factory=dict)
    ran: dict[str, list[str]] = field(default_factory=dict)

    @property
    def retried(self) -> set[str]:
        """The ids of the tasks that are retried."""
        return {ids[-1] for name, ids in self.sent.items() if name != "old beat"}

    @property
    def has_redis(self) -> bool:
        """Whether broker and results are in Redis."""
        return self.contents.access.url.startswith("redis:")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its app. Results are in Redis, or else in a database."""
        access = self.contents.access
        database = f"db+sqlite:///{self.folder / 'results.sqlite'}"
        return {
            "broker_url": access.url,
            "broker_transport_options": access.transport_options,
            "result_backend": access.url if self.has_redis else database,
            "result_backend_transport_options": access.transport_options,
        }

    @contextmanager
    def open_app(self, adopt: Callable[[Celery], object]) -> Iterator[Celery]:
        """Yield an app of the fleet in this process, once it has been adopted."""
        app = Celery("fleet", set_as_current=False)
        app.conf.update(self.settings, task_queues=fleet_service.QUEUES)
        adopt(app)
        yield app
        app.close()

    def environment(self, journal: str, *, tracked: bool) -> dict[str, str]:
        return {
            fleet_service.SETTINGS: json.dumps(self.settings),
            fleet_service.JOURNAL: str(self.folder / journal),
            **({fleet_service.TRACKED: "1"} if tracked else {}),
        }

    def send(self, name: str, *, tracked: bool) -> None:
        """Send a task to each queue, and last one with an ETA that is retried."""
        with self._running(name, "send", tracked=tracked) as process:
            process.wait_for("]")
        self.sent[name] = json.loads(process.text.strip().splitlines()[-1])

    def run(
        self, worker: str, *senders: str, tracked: bool, beat: bool = False
    ) -> None:
        """Run a worker until it has run the tasks of these senders."""
        journal = self.folder / worker
        journal.touch()
        with self._running(worker, *WORKER, tracked=tracked) as process:
            process.wait_for("ready.")
            if beat:
                senders += ("old beat",)
                self._tick()
            expected = {id for sender in senders for id in self.sent[sender]}
            wait_until(lambda: expected <= {*journal.read_text().split()})
            process.stop()
        self.ran[worker] = sorted(journal.read_text().split())

    def run_old(self, *words: str, until: str) -> None:
        """Run a command with the old configuration until it has written a text."""
        with self._running(words[0], *words, tracked=False) as process:
            process.wait_for(until)

    def _tick(self) -> None:
        """Run an old beat until it has sent a task."""
        with self._running("beat", *BEAT, tracked=False) as beat:
            beat.wait_for("note sent.")
            beat.stop()
        self.sent["old beat"] = re.findall(r"note sent\. id->(\S+)", beat.text)

    def _running(
        self, name: str, *arguments: str, tracked: bool
    ) -> AbstractContextManager[Process]:
        return running(
            [sys.executable, fleet_service.__file__, *arguments],
            folder=self.folder,
            environment=self.environment(name, tracked=tracked),
            name=name,
        )


@pytest.fixture(scope="module", params=["rabbitmq", "redis"])
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """A fleet that has adopted the toolbox, and has dropped it again."""
    folder = tmp_path_factory.mktemp("fleet")
    with open_queue_contents(request.param, request, folder) as contents:
        fleet = Fleet(contents, folder)
        fleet.send("old producer", tracked=False)
        fleet.send("new producer", tracked=True)
        fleet.run("new worker", "old producer", "new producer", tracked=True, beat=True)
        fleet.send("last new producer", tracked=True)
        fleet.send("first old producer", tracked=False)
        senders = ("last new producer", "first old producer")
        fleet.run("old worker", *senders, tracked=False)
        yield fleet


def test_new_workers_run_the_tasks_of_old_producers_and_old_beat_once(
    fleet: Fleet,
) -> None:
    sent = [*fleet.sent["old producer"], *fleet.sent["new producer"]]

    assert fleet.sent["old beat"]
    assert fleet.ran["new worker"] == sorted([*sent, *fleet.sent["old beat"]])


def test_old_workers_run_the_tasks_of_new_producers_once(fleet: Fleet) -> None:
    sent = [*fleet.sent["last new producer"], *fleet.sent["first old producer"]]

    assert fleet.ran["old worker"] == sorted(sent)
    assert all(map(fleet.contents.is_empty, QUEUES))


def test_old_workers_retry_the_delayed_tasks_of_new_producers_once(
    fleet: Fleet,
) -> None:
    delayed = fleet.sent["last new producer"][-1]

    assert fleet.ran["old worker"].count(delayed) == 1


def test_the_tasks_of_new_producers_are_copied_once(fleet: Fleet) -> None:
    sent = {*fleet.sent["new producer"], *fleet.sent["last new producer"]}
    copies = fleet.contents.ids("platform.fifo")
    # Old producers use the exchange of a user, to which the monitor queue is bound.
    of_old = {*fleet.sent["old producer"], *fleet.sent["first old producer"]}
    once = [id for id in copies if id not in fleet.retried]

    assert len(once) == len({*once})
    assert {*copies} - of_old == sent


@pytest.mark.parametrize("fleet", ["rabbitmq"], indirect=True)
def test_the_documented_command_deletes_the_exchange(fleet: Fleet) -> None:
    [line] = [each for each in PAGE.read_text("utf-8").splitlines() if " amqp " in each]
    _, _, _, *words = line.split()
    fleet.run_old(*words, until="OK")
    with fleet.open_app(lambda app: None) as app, app.connection() as connection:
        channel: Any = connection.channel()
        with pytest.raises(NotFound):
            channel.exchange_declare("task_exchange", "topic", passive=True)


@pytest.fixture
def adopted(fleet: Fleet, tmp_path: Path) -> Iterator[Celery]:
    """An app of the fleet whose new results are in a database of the toolbox."""

    def adopt(app: Celery) -> None:
        moved = f"workertoolbox+sqlite:///{tmp_path / 'new.sqlite'}"
        settings = {"result_backend": moved} if fleet.has_redis else {}
        app.config_from_object(Config.from_app(app, **settings))
        upgrade(app.conf.result_backend)

    with fleet.open_app(adopt) as app:
        yield app


def test_old_services_and_tracked_ones_read_the_results_of_each_other(
    fleet: Fleet,
) -> None:
    for adopt in (track, lambda app: None):
        with fleet.open_app(adopt) as app:
            for id in (*fleet.ran["old worker"], *fleet.ran["new worker"]):
                assert app.AsyncResult(id).get(timeout=10) == f"ran {id}"


def test_results_of_old_workers_can_be_read_when_new_ones_are_stored_elsewhere(
    fleet: Fleet, adopted: Celery
) -> None:
    id = fleet.ran["old worker"][0]
    names: dict[str, Any] = {"app": adopted, "find_old_result": adopted.AsyncResult}
    if fleet.has_redis:
        assert str(adopted.AsyncResult(id).state) == states.PENDING
        url = fleet.settings["result_backend"]
        exec(READ_OLD_RESULTS.replace("redis://", url), names)

    assert names["find_old_result"](id).get(timeout=10) == f"ran {id}"


def test_results_of_the_toolbox_can_be_read_after_it_has_been_dropped(
    fleet: Fleet, adopted: Celery
) -> None:
    adopted.backend.store_result("after", [1], states.SUCCESS)
    url = adopted.conf.result_backend.removeprefix("workertoolbox+")
    with fleet.open_app(lambda app: None) as old:
        backend = DatabaseBackend(app=old, url=url) if fleet.has_redis else old.backend
        result: AsyncResult[Any] = AsyncResult("after", backend=backend)

        assert result.get(timeout=10) == [1]
