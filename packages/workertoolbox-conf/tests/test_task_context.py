from __future__ import annotations

import logging

from celery import Celery

from cadasta.workertoolbox.conf import TaskIdFilter
from cadasta.workertoolbox.conf._logging.task_context import task_context, task_ids

NO_TASK = {"task_id": None, "root_id": None, "queue": None, "task_name": None}


class Lines(logging.Handler):
    """A handler of a service, with a formatter and the filter."""

    def __init__(self) -> None:
        super().__init__()
        names = ("task_id", "root_id", "queue", "task_name", "message")
        self.setFormatter(logging.Formatter(" ".join(f"%({name})s" for name in names)))
        self.addFilter(TaskIdFilter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def filtered(**attributes: object) -> logging.LogRecord:
    record = logging.makeLogRecord(attributes)
    assert TaskIdFilter().filter(record)
    return record


def test_a_handler_of_a_service_gets_the_ids() -> None:
    app = Celery("shop", set_as_current=False)
    logger, handler = logging.Logger("shop"), Lines()
    logger.addHandler(handler)

    @app.task(name="shop.sell", shared=False)
    def sell() -> None:
        logger.info("sold")

    sell.apply(task_id="one", routing_key="shop").get()
    logger.info("closed")

    assert handler.lines == [
        "one one shop shop.sell sold",
        "None None None None closed",
    ]


def test_the_filter_keeps_what_a_record_has() -> None:
    with task_context({"id": "one"}, None, "shop.sell"):
        record = filtered(queue="till", task_id="???")
    TaskIdFilter().filter(record)

    assert (record.queue, record.task_id) == ("till", "one")  # type: ignore[attr-defined]


def test_a_handled_task_is_the_current_one_for_a_block() -> None:
    assert task_ids() == NO_TASK

    headers = {"id": "two", "root_id": "one"}
    with task_context(headers, {"routing_key": "shop"}, "shop.sell"):
        assert task_ids() == {
            "task_id": "two",
            "root_id": "one",
            "queue": "shop",
            "task_name": "shop.sell",
        }

    assert task_ids() == NO_TASK
