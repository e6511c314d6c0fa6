"""Every task is copied once and run once, on every broker.

Each test publishes tasks and states which copies and runs it expects. The harness then
compares these with the messages in the monitor queue and with what the worker has run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group, states

from cadasta.workertoolbox.routing import Routing
from support.brokers import ALL_BROKERS, SERVER_FIXTURES
from support.conformance_harness import ConformanceHarness, open_conformance_harness
from support.conformance_service import make_app
from support.delivery_counts import workflow_ids
from support.polling import wait_until
from support.publisher_scripts import (
    PUBLISH_FROM_FORKS,
    PUBLISH_WITH_ENVIRONMENT_ONLY,
    PUBLISH_WITH_ROUTING_ONLY,
    run_script,
)

#: The models of kombu's SQLAlchemy transport cause this warning.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

#: Seconds until a scheduled task is due: enough to see its copy earlier, even on a slow
#: machine.
COUNTDOWN_S = 6

WORKER = ("worker", "-c", "2", "-l", "INFO")


@pytest.fixture(scope="module", params=ALL_BROKERS)
def unused_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConformanceHarness]:
    """The service on each broker in turn, with nothing declared and no worker."""
    folder = tmp_path_factory.mktemp(request.param)
    with open_conformance_harness(request, folder, request.param) as service:
        yield service


@pytest.fixture(scope="module")
def running_service(unused_broker: ConformanceHarness) -> Iterator[ConformanceHarness]:
    """The service with a worker; at the end, nothing was copied or run too often."""
    service = unused_broker
    with service.running(*WORKER, ready="ready.") as worker:
        service.worker = worker
        yield service
        service.settle()
        worker.kill()


@pytest.fixture
def service(running_service: ConformanceHarness) -> Iterator[ConformanceHarness]:
    """The running service for one test; the next test starts with balanced counts."""
    yield running_service
    running_service.counts.accept_current()


@pytest.fixture
def app(service: ConformanceHarness) -> Celery:
    """The app of the service."""
    return service.app


def routing_settings(service: ConformanceHarness) -> dict[str, Any]:
    """Return keywords to `Routing` for the broker of a service."""
    conf = service.app.conf
    return {
        "broker_url": conf.broker_url,
        "broker_transport_options": conf.broker_transport_options,
        "queue_type": "quorum" if service.broker.name == "quorum" else None,
    }


def test_routing_alone_loses_nothing_before_the_first_worker_starts(
    unused_broker: ConformanceHarness, request: pytest.FixtureRequest
) -> None:
    service = unused_broker
    options = [{}, {"queue": "msg"}, {"countdown": COUNTDOWN_S}]
    *now, later = run_script(
        PUBLISH_WITH_ROUTING_ONLY, routing_settings(service), options
    )
    service.counts.wait_for_copies(*now, later)
    service.expect(*now)
    service.expect(later, scheduled=True)

    assert service.worker is None, "this test must run first"
    assert service.counts.early_copies == {later}
    request.getfixturevalue("service").settle()


def test_delay_is_copied_and_run_once(service: ConformanceHarness, app: Celery) -> None:
    service.expect(app.tasks["export.echo"].delay("delay").id)
    service.settle()


@pytest.mark.parametrize(
    "id", [uuid4(), "a" * 155, "\N{SNOWMAN}" * 85], ids=["uuid", "long", "unicode"]
)
def test_a_task_with_an_id_of_the_caller_has_a_result(
    service: ConformanceHarness, app: Celery, id: Any
) -> None:
    result = app.tasks["export.echo"].apply_async(("id",), task_id=id)
    service.expect(str(id))
    service.settle()

    assert result.get(timeout=60) == "id"


def test_a_producer_needs_only_the_environment_of_the_service(
    service: ConformanceHarness,
) -> None:
    settings = {**routing_settings(service), "queues": ["export", "msg"]}
    environment = {
        f"WORKERTOOLBOX_{name.upper()}": value
        if isinstance(value, str)
        else json.dumps(value)
        for name, value in settings.items()
        if value is not None
    }
    service.expect(*run_script(PUBLISH_WITH_ENVIRONMENT_ONLY, environment=environment))
    service.settle()


def test_a_producer_with_the_result_backend_of_the_workers_starts_a_chord(
    service: ConformanceHarness, app: Celery
) -> None:
    backend = app.conf.result_backend
    routing = Routing(
        ["export", "msg"],
        ENV_PREFIX=None,
        result_backend=backend,
        **routing_settings(service),
    )
    producer = Celery("producer", set_as_current=False)
    producer.config_from_object(routing)
    echo = producer.signature("export.echo", (1,))
    result = chord([echo, echo], producer.signature("msg.total"), app=producer)()
    service.expect(*workflow_ids(result))
    service.settle()

    assert result.get(timeout=60) == 2
    producer.close()


def test_a_task_sent_to_a_queue_named_by_the_caller_is_copied(
    service: ConformanceHarness, app: Celery
) -> None:
    service.expect(app.tasks["export.echo"].apply_async(("queue",), queue="msg").id)
    service.settle()


def test_a_task_sent_by_name_from_a_service_without_tasks_is_copied(
    service: ConformanceHarness,
) -> None:
    client = make_app("client")
    assert "export.echo" not in client.tasks
    # Not a connection of the pool, on which other apps have declared the queues.
    with client.connection_for_write() as connection:
        sent = client.send_task("export.echo", ["by name"], connection=connection)
    client.close()
    service.expect(sent.id)

    service.settle()


def test_routing_alone_copies_tasks_on_a_broker_already_in_use(
    service: ConformanceHarness,
) -> None:
    options: list[dict[str, Any]] = [{}, {"queue": "celery"}]
    service.expect(
        *run_script(PUBLISH_WITH_ROUTING_ONLY, routing_settings(service), options)
    )
    service.settle()


def test_each_step_of_a_chain_is_copied_and_run_once(
    service: ConformanceHarness, app: Celery
) -> None:
    step = app.tasks["export.echo"]
    ids = workflow_ids(chain(step.s(1), step.s().set(queue="msg"), step.s())())

    assert len(ids) == 3
    service.expect(*ids)
    service.settle()


def test_each_task_of_a_group_is_copied_and_run_once(
    service: ConformanceHarness, app: Celery
) -> None:
    ids = workflow_ids(group(app.tasks["export.echo"].s(n) for n in range(5))())

    assert len(ids) == 5
    service.expect(*ids)
    service.settle()


def test_each_task_of_a_chord_is_copied_and_run_once(
    service: ConformanceHarness, app: Celery
) -> None:
    step, total = app.tasks["export.echo"], app.tasks["msg.total"]
    ids = workflow_ids(chord([step.s(n) for n in range(5)], total.s())())

    assert len(ids) == 6
    service.expect(*ids)
    service.settle()
    check_no_polls(service)


def test_each_task_of_a_chord_in_a_chain_is_copied_and_run_once(
    service: ConformanceHarness, app: Celery
) -> None:
    step, total = app.tasks["export.echo"], app.tasks["msg.total"]
    header = [step.si(1), step.si(2)]
    ids = workflow_ids(chain(step.s(0), chord(header, total.s()), step.s())())

    assert len(ids) == 5
    service.expect(*ids)
    service.settle()
    check_no_polls(service)


def check_no_polls(service: ConformanceHarness) -> None:
    """Check that nothing polled for the end of a header, as Celery's backend does."""
    assert not service.counts.internal_copies


def test_each_retry_is_copied_and_run_once(
    service: ConformanceHarness, app: Celery
) -> None:
    id = app.tasks["export.retry"].delay([0, 1, 1]).id
    for retries, scheduled in enumerate([False, False, True, True]):
        service.expect(id, retries=retries, scheduled=scheduled)
    service.settle()


def test_countdown_and_eta_are_copied_before_they_are_due(
    service: ConformanceHarness, app: Celery
) -> None:
    step = app.tasks["export.echo"]
    eta = datetime.now(UTC) + timedelta(seconds=COUNTDOWN_S)
    ids = {
        step.apply_async(("countdown",), countdown=COUNTDOWN_S).id,
        step.apply_async(("eta",), eta=eta).id,
    }
    service.counts.wait_for_copies(*ids)
    service.expect(*ids, scheduled=True)

    assert ids <= service.counts.early_copies
    service.settle()


def test_an_expired_task_is_copied_and_not_run(
    service: ConformanceHarness, app: Celery
) -> None:
    step = app.tasks["export.echo"]
    expired = step.apply_async(("expired",), expires=-1)
    service.expect(expired.id, runs=0)
    service.expect(step.apply_async(("valid",), expires=300).id)
    service.settle()

    wait_until(lambda: str(expired.state) == states.REVOKED)


def test_each_tick_of_beat_is_copied_and_run_once(service: ConformanceHarness) -> None:
    files = ("--pidfile=", "--schedule", str(service.folder / "schedule"))
    beat = ("beat", "-l", "DEBUG", "--max-interval", "1", *files)
    with service.running(*beat, ready="beat: Starting") as process:
        wait_until(lambda: len(sent_ids(process.text)) >= 2)
        process.stop()
    service.expect(*sent_ids(process.text))
    service.settle()


def sent_ids(log: str) -> list[str]:
    """Return the ids of the tasks that beat has logged."""
    return re.findall(r"export\.echo sent\. id->(\S+)", log)


def test_four_threads_on_pooled_connections_lose_and_duplicate_nothing(
    service: ConformanceHarness, app: Celery
) -> None:
    def publish(_: int) -> list[str]:
        return [app.tasks["export.echo"].delay(n).id for n in range(25)]

    with ThreadPoolExecutor(4) as threads:
        ids = [id for ids in threads.map(publish, range(4)) for id in ids]

    assert len(set(ids)) == 100
    service.expect(*ids)
    service.settle()


def test_four_forked_processes_lose_and_duplicate_nothing(
    service: ConformanceHarness,
) -> None:
    ids = run_script(PUBLISH_FROM_FORKS, environment=service.broker.environment)

    assert len(set(ids)) == 42
    service.expect(*ids)
    service.settle()


@pytest.mark.parametrize(
    "unused_broker", SERVER_FIXTURES, indirect=True, scope="module"
)
def test_a_publisher_whose_connection_breaks_loses_and_duplicates_nothing(
    service: ConformanceHarness, app: Celery
) -> None:
    assert service.proxy is not None
    for n in range(12):
        if n % 4 == 2:
            service.proxy.cut()
        service.expect(app.tasks["export.echo"].delay(n).id)
    service.settle()


# Not SQS: it redelivers a message whose reception was cut off only after half an hour.
@pytest.mark.parametrize(
    "unused_broker", ["rabbitmq", "quorum", "redis"], indirect=True, scope="module"
)
def test_a_worker_whose_connection_breaks_loses_and_duplicates_nothing(
    service: ConformanceHarness, app: Celery
) -> None:
    assert service.worker is not None and service.worker_proxy is not None
    step = app.tasks["export.echo"]
    for _ in range(4):  # So that both of its processes publish and stay connected.
        service.expect(*workflow_ids(chain(step.s(1), step.s(), step.s())()))
    service.settle()
    for id in service.flush():
        # By then the task is acknowledged, so it is not redelivered.
        service.worker.wait_for(f"[{id}] succeeded")
    service.worker_proxy.cut()
    for _ in range(4):
        service.expect(*workflow_ids(chain(step.s(1), step.s(), step.s())()))
    service.settle()
