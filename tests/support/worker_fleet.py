"""Workers on RabbitMQ that store their results in a database."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Celery, chord, group, states
from celery.result import AsyncResult, GroupResult
from sqlalchemy import URL, make_url, text

from cadasta.workertoolbox.conf import Config
from servers.access import BrokerAccess
from servers.ports import HOST
from support.brokers import result_backend_url, server_broker
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, Process, running
from support.proxy import Proxy
from support.statements import fetch

#: Seconds to wait for an expected result; much longer than it takes.
TIMEOUT_S = 60.0

#: What Celery logs when it could not store a result and tries again.
RETRYING = "Failed operation _store_result. Retrying"


@dataclass(frozen=True)
class WorkerFleet:
    """Workers on a virtual host of RabbitMQ, and a database.

    Attributes:
        app: Publishes tasks to the workers, and reads their results.
        database: The SQLAlchemy URL of the app's result backend.
        environment: Variables of the workers.
        folder: Receives the logs of the workers.
    """

    app: Celery
    database: str
    environment: dict[str, str]
    folder: Path

    def worker(
        self, *arguments: str, **settings: object
    ) -> AbstractContextManager[Process]:
        """Run a worker until the block ends; settings are Celery's, in lowercase."""
        own = {f"WORKERTOOLBOX_{k.upper()}": str(v) for k, v in settings.items()}
        options = ("-Q", "export", "-l", "INFO", "--without-gossip", "--without-mingle")
        return self.command("worker", *options, *arguments, **own)

    def command(
        self, *words: str, **environment: str
    ) -> AbstractContextManager[Process]:
        """Run one of Celery's commands until the block ends."""
        celery = [sys.executable, "-m", "celery", "-A", "result_service"]
        return running(
            [*celery, "--workdir", SERVICE_FOLDER, *words],
            folder=self.folder,
            environment={**self.environment, **environment},
            name=words[0],
        )

    def with_worker_database(self, database: str) -> WorkerFleet:
        """Return a fleet whose workers use another URL of the database."""
        backend = {"WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(database)}
        return replace(self, environment={**self.environment, **backend})

    def publish(self, count: int) -> list[AsyncResult[Any]]:
        """Publish tasks that return the numbers from 0 to `count` - 1."""
        return [self.app.send_task("export.echo", [n]) for n in range(count)]


@contextmanager
def open_fleet(
    access: BrokerAccess, database: str, folder: Path
) -> Iterator[WorkerFleet]:
    """Yield a fleet whose workers are not started yet."""
    app = Celery("producer", set_as_current=False)
    app.config_from_object(
        Config(
            ["export"],
            broker_url=access.url,
            broker_transport_options=access.transport_options,
            result_backend=result_backend_url(database),
        )
    )
    environment = server_broker("rabbitmq", access, database=database).environment
    try:
        yield WorkerFleet(app, database, environment, folder)
    finally:
        app.close()


def count_statuses(database: str | URL) -> Counter[str]:
    """Return the number of results of each status."""
    query = "SELECT status, count(*) FROM celery_taskmeta GROUP BY status"
    return Counter({status: count for status, count in fetch(database, query)})


def all_succeeded(database: str | URL, results: Sequence[AsyncResult[Any]]) -> bool:
    """Wait for as many successes; return whether they belong to these results."""
    expected = Counter({states.SUCCESS: len(results)})

    def look() -> bool:
        seen = count_statuses(database)
        assert seen == expected, f"{seen} instead of {expected}"
        return True

    wait_until(look, timeout_s=TIMEOUT_S)
    found = {id for [id] in fetch(database, "SELECT task_id FROM celery_taskmeta")}
    return found == {result.id for result in results}


def url_through(database: str | URL, proxy: Proxy) -> str:
    """Return the URL of a database, with a proxy in place of its server."""
    url = make_url(database).set(host=HOST, port=proxy.port)
    return url.render_as_string(hide_password=False)


def address_of(database: str | URL) -> tuple[str, int]:
    """Return the host and the port of a database's server."""
    url = make_url(database)
    return url.host or HOST, url.port or 5432


def run_workflows(app: Celery) -> tuple[object, object, object]:
    """Run a chord of ten, a group of ten and a failing task.

    Returns:
        The sum that the chord returns, the list that the restored group returns, and
        the argument of the error.
    """
    echoes = [app.signature("export.echo", [n]) for n in range(10)]
    total = chord(echoes, app=app)(app.signature("export.total"))
    members: Any = group(echoes, app=app).apply_async()
    members.save()
    failure = app.send_task("export.fail")
    failure.get(timeout=TIMEOUT_S, propagate=False)
    restored = GroupResult.restore(members.id, app=app)
    return (
        total.get(timeout=TIMEOUT_S),
        restored.get(timeout=TIMEOUT_S),
        failure.result.args[0],
    )


def delete_results(app: Celery) -> None:
    """Delete every result, as `celery.backend_cleanup` deletes archived ones."""
    backend: Any = app.backend
    with backend.database.connect() as connection:
        connection.execute(text("UPDATE celery_taskmeta SET archived_at = now()"))
    backend.expires = timedelta(microseconds=1)
    backend.cleanup()
