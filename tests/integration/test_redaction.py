"""No secret among the arguments of a task reaches the database."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain
from celery.result import AsyncResult
from sqlalchemy import MetaData, create_engine, select

from cadasta.workertoolbox.results import TaskStore, upgrade
from support.brokers import Broker
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, running
from support.secrets_service import make_app

SECRET = "s3cr3t-and-nobody-else-writes-this"


@pytest.fixture
def service(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The service with secret arguments, with rules from the environment."""
    broker.environment["WORKERTOOLBOX_REDACT"] = json.dumps({"export.*": ["card", 1]})
    for name, value in broker.environment.items():
        monkeypatch.setenv(name, value)
    app = make_app()
    upgrade(app.conf.result_backend)
    yield app
    app.close()


def database_as_text(app: Celery) -> str:
    """Return the values of all rows of all tables as text."""
    engine = create_engine(app.conf.result_backend.removeprefix("workertoolbox+"))
    found = []
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)):
                found += [
                    bytes(value).decode("utf-8", "replace")
                    if isinstance(value, bytes | memoryview)
                    else str(value)
                    for value in row
                ]
    engine.dispose()
    return "\n".join(found)


def send_payments(service: Celery) -> list[AsyncResult[Any]]:
    """Send tasks with a secret among their arguments, which are retried once."""
    pay = service.tasks["export.pay"]
    reprs: dict[str, Any] = {"argsrepr": "(…)", "kwargsrepr": "{…}"}
    return [
        pay.delay("a", SECRET),
        pay.delay(card=SECRET),
        pay.delay("a", password=SECRET),
        pay.delay({"deep": [{"api_key": SECRET}]}),
        pay.apply_async((SECRET,), {"other": SECRET}, **reprs),
    ]


def send_logins(service: Celery) -> None:
    """Send secrets in workflows, and those that errors and a bad message repeat."""
    login = service.tasks["export.login"]
    login.delay("ann", SECRET)
    login.delay("nobody", SECRET)
    login.starmap([("ann", SECRET)]).delay()
    login.chunks([("ann", SECRET)], 1).apply_async()
    chain(login.si("ann", SECRET), login.si("bob", SECRET)).delay()
    login.apply_async(("nobody",), {"password": SECRET})
    login.apply_async(("ann", SECRET), headers={"retries": -1})  # type: ignore[dict-item]
    # No worker runs this one: its queue has none.
    service.send_task("msg.other", [login.s("ann", SECRET)], {"pwd": SECRET})


@pytest.mark.parametrize("broker", ["rabbitmq", "filesystem"], indirect=True)
def test_no_secret_of_a_task_a_workflow_an_error_or_a_message_reaches_the_database(
    service: Celery, broker: Broker, tmp_path: Path
) -> None:
    payments = send_payments(service)
    celery = [sys.executable, "-m", "celery", "-A", "secrets_service"]
    celery += ["--workdir", str(SERVICE_FOLDER)]
    options = ["-P", "solo", "--without-gossip", "--without-mingle"]
    run_here = partial(running, folder=tmp_path, environment=broker.environment)
    with (
        run_here([*celery, "worker", "-Q", "export,celery", *options]) as worker,
        run_here([*celery, "tasks", "monitor"]) as monitor,
        TaskStore.for_app(service) as store,
    ):

        def are_paid() -> bool:
            tasks = [store.find(result.id) for result in payments]
            assert all(
                task and task.tracked and task.status == "SUCCESS" and task.retries == 1
                for task in tasks
            ), tasks
            return True

        def are_logged_in() -> bool:
            tasks = [
                task
                for task in store.list(internal=True)
                if task.tracked and task.name != "export.pay"
            ]
            found = Counter(task.status for task in tasks)
            # Two logins fail, and the task that the worker does not know.
            assert found["SUCCESS"] == 5 and found["FAILURE"] == 3, tasks
            assert store.count_quarantined() == 1
            return True

        wait_until(are_paid)
        shown = store.get(payments[-1].id)
        # Celery logs the errors of logins as the service raises them.
        logged = worker.text
        send_logins(service)
        wait_until(are_logged_in)

    assert SECRET not in database_as_text(service)
    assert SECRET not in logged + monitor.text
    assert (shown.args, shown.kwargs) == ("(…)", "{…}")
