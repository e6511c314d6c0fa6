"""The export example at work, on its embedded default: a folder and no server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery

from cadasta.workertoolbox.results import TaskStore, upgrade
from servers.ports import HOST, free_ports, is_listening
from support.brokers import Broker, folder_broker
from support.polling import wait_until
from support.processes import running

EXAMPLE = Path(__file__).parents[2] / "examples" / "export"
CELERY = (
    *(sys.executable, "-m", "celery"),
    *("-A", "export_service", "--workdir", str(EXAMPLE)),
)


@dataclass(frozen=True)
class ExportFleet:
    """The processes of the example, and its app.

    Attributes:
        folder: The folder for logs and exports.
    """

    app: Celery
    store: TaskStore
    broker: Broker
    folder: Path

    def export(self, name: str) -> str:
        """Export the example's own folder; return the id of the workflow.

        One of its tasks fails on purpose.
        """
        from export_service.client import schedule

        return str(schedule(self.app, EXAMPLE, self.folder / name, fail=True).id)

    def wait_for(self, id: str) -> None:
        """Wait until all tasks of an export have ended, and are tracked."""
        from export_service.workflow import find_problems, planned

        def has_ended() -> bool:
            result = self.store.get(id).result
            assert isinstance(result, dict)
            assert find_problems(self.store.workflow(id), planned(result)) == []
            return True

        wait_until(lambda: self.store.find(id))
        wait_until(has_ended, timeout_s=120)

    @contextmanager
    def serving(self, *options: str) -> Iterator[str]:
        """Serve the pages about its tasks; yield their address."""
        [port] = free_ports(1)
        with running(
            [*CELERY, "tasks", "web", "--bind", f"{HOST}:{port}", *options],
            folder=self.folder,
            environment=self.broker.environment,
            name="web",
            ready=lambda: is_listening(port),
            timeout_s=60,
        ):
            yield f"http://{HOST}:{port}"


@contextmanager
def export_fleet(folder: Path) -> Iterator[ExportFleet]:
    """Run a worker and a monitor of the example in a folder."""
    broker = folder_broker(folder / ".workertoolbox")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in broker.environment.items():
            patch.setenv(name, value)
        for name in [name for name in sys.modules if name.startswith("export_service")]:
            patch.delitem(sys.modules, name)
        from export_service.celery import app

        upgrade(app.conf.result_backend)
        worker = [*CELERY, "worker", "-c", "2", "-l", "INFO"]
        monitor = [*CELERY, "tasks", "monitor"]
        with (
            running(
                worker, folder=folder, environment=broker.environment, name="worker"
            ),
            running(
                monitor, folder=folder, environment=broker.environment, name="monitor"
            ),
            TaskStore.for_app(app) as store,
        ):
            yield ExportFleet(app, store, broker, folder)
        app.close()
