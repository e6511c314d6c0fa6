"""Operations on PostgreSQL that publish the same tasks at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from celery import Celery
from kombu import Queue

from cadasta.workertoolbox.results import (
    OperationTask,
    TaskStore,
    begin_rerun,
    plan_rerun,
    resume_rerun,
)
from support.brokers import result_backend_url
from support.failed_tasks import store_failed

#: Number of operations, and of their tasks.
OPERATIONS, TASKS = 4, 25


def test_of_operations_at_the_same_time_one_publishes_each_task(database: str) -> None:
    ids = [str(number) for number in range(TASKS)]
    app = Celery("claims", broker="memory://", set_as_current=False)
    app.amqp.queues.add(Queue("export"))
    begun = Barrier(OPERATIONS)

    def publish(operation_id: str) -> list[OperationTask]:
        begun.wait()
        return [*resume_rerun(app, store, operation_id, per_s=10_000)]

    with TaskStore(result_backend_url(database)) as store:
        store_failed(store, ids)
        plans = [plan_rerun(app, store, ids) for _ in range(OPERATIONS)]
        operations = [begin_rerun(store, plan) for plan in plans]
        with ThreadPoolExecutor(OPERATIONS) as pool:
            outcomes = [each for some in pool.map(publish, operations) for each in some]
    app.close()
    published = [each.task_id for each in outcomes if each.state == "published"]

    assert sorted(published) == sorted(ids)
    assert len(outcomes) == OPERATIONS * TASKS
