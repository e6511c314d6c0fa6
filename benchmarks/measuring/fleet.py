"""One service with each result backend, and the workers that run it."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from celery import Celery
from sqlalchemy import NullPool, create_engine, make_url, text

from cadasta.workertoolbox.results import upgrade
from measuring.finished import Finished
from measuring.tasks import NOTHING, make_app
from servers import postgresql, rabbitmq, redis
from servers.postgresql import PostgreSQL
from servers.rabbitmq import RabbitMQ
from servers.redis import Redis
from support.processes import Process, running

#: The backends, by the names that are printed.
OURS = "ours"
DATABASE = "Celery's database"
REDIS = "Redis"
BARE = "bare INSERT"
NONE = "no backend"

#: The prefix of a database URL, by backend.
SCHEMES = {OURS: "workertoolbox", DATABASE: "db", BARE: "measuring.bare.Bare"}

#: Where workers find their module.
HERE = Path(__file__).parent.parent

CELERY = (sys.executable, "-m", "celery", "-A", "measuring.service")

#: Options of a worker that switch off what would only cost the others time.
WORKER = (
    "--without-gossip",
    "--without-mingle",
    "--without-heartbeat",
    "-l",
    "WARNING",
)


@dataclass(frozen=True)
class Service:
    """A service with a broker and a result backend of its own.

    Attributes:
        settings: Celery's settings that only this service has.
        finished: The tasks that its workers have finished.
    """

    settings: dict[str, Any]
    finished: Finished

    @cached_property
    def app(self) -> Celery:
        """An app in this process, which reads results."""
        return make_app(self.settings)

    @cached_property
    def publisher(self) -> Celery:
        """An app that only publishes, at the same cost with any backend.

        Celery's Redis backend subscribes to the result of each task it publishes.
        """
        return make_app({"broker_url": self.settings["broker_url"]})

    def publish(self, count: int, **options: Any) -> None:
        """Publish no-op tasks."""
        for number in range(count):
            self.publisher.tasks[NOTHING].apply_async((number,), **options)


@dataclass(frozen=True)
class Servers:
    """RabbitMQ, PostgreSQL and Redis, for any number of services.

    Attributes:
        folder: Where workers write their files.
    """

    folder: Path
    broker: RabbitMQ
    databases: PostgreSQL
    redis: Redis

    @contextmanager
    def services(self, *backends: str) -> Iterator[dict[str, Service]]:
        """Yield a service for each backend."""
        with ExitStack() as stack:
            services = {}
            for backend in backends:
                settings = stack.enter_context(self._result_backend(backend))
                settings["broker_url"] = stack.enter_context(self.broker.vhost())
                finished = Finished(self.folder / uuid.uuid4().hex)
                services[backend] = Service(settings, finished)
            yield services

    @contextmanager
    def _result_backend(self, name: str) -> Iterator[dict[str, Any]]:
        if name == NONE:
            yield {"result_backend": "disabled://"}
            return
        if name == REDIS:
            with self.redis.access() as access:
                yield {
                    "result_backend": access.url,
                    "result_backend_transport_options": access.transport_options,
                }
            return
        with self.databases.database() as url:
            if name != DATABASE:
                upgrade(url)
            yield {"result_backend": f"{SCHEMES[name]}+{url}"}

    @contextmanager
    def workers(self, services: Iterable[Service], *options: str) -> Iterator[None]:
        """Run a worker for each service with these command-line options."""
        with ExitStack() as stack:
            for service in services:
                stack.enter_context(self._worker(service, options))
            yield

    def _worker(
        self, service: Service, options: Iterable[str]
    ) -> AbstractContextManager[Process]:
        name = f"{uuid.uuid4().hex}@localhost"
        control = service.publisher.control
        return running(
            [*CELERY, "worker", *WORKER, "-n", name, *options],
            folder=self.folder,
            environment={
                "PYTHONPATH": str(HERE),
                "BENCHMARK_SETTINGS": json.dumps(service.settings),
                "BENCHMARK_FINISHED": str(service.finished.path),
            },
            ready=lambda: control.ping(destination=[name], timeout=0.2),
            print_output=False,
        )

    def connections(self, service: Service) -> int:
        """Return the number of connections to the database of a service."""
        url = make_url(service.settings["result_backend"])
        query = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name")
        engine = create_engine(self.databases.maintenance, poolclass=NullPool)
        with engine.connect() as connection:
            count: int = connection.execute(query, {"name": url.database}).scalar_one()
        return count


@contextmanager
def serve(folder: Path) -> Iterator[Servers]:
    """Run the servers."""
    with (
        rabbitmq.serve(folder) as broker,
        postgresql.serve(lambda url: None, settings=postgresql.DURABLE) as databases,
        redis.serve(folder) as store,
    ):
        if not isinstance(broker, RabbitMQ):
            raise SystemExit(
                "each service needs a virtual host of its own; "
                "unset WORKERTOOLBOX_TEST_AMQP_URL"
            )
        yield Servers(folder, broker, databases, store)
