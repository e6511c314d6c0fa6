from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from kombu.message import Message

from cadasta.workertoolbox.routing._task_message import MAX_DEPTH, find_problem

HEADERS = {"id": "1", "task": "export.note"}
BODY: Any = [[], {}, {}]


def message(
    headers: dict[str, Any], body: Any = BODY, properties: Any = None
) -> Message:
    return Message(
        body=json.dumps(body),
        content_type="application/json",
        content_encoding="utf-8",
        headers=headers,
        properties=properties,
    )


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("headers", "body", "problem"),
    [
        ({"task": "x"}, BODY, "'id' must be a string, got None"),
        ({**HEADERS, "id": "a\nb"}, BODY, r"'id' must be printable text, got a\nb"),
        ({**HEADERS, "stamped_headers": 1}, BODY, "must be a list of strings, got 1"),
        ({**HEADERS, "retries": 2**70}, BODY, "'retries' must be an integer"),
        ({**HEADERS, "timelimit": [10**400, None]}, BODY, "must be a finite number"),
        ({**HEADERS, "get": 1}, BODY, "'get' would replace a method"),
        ({**HEADERS, "chain": [[]]}, BODY, "'chain' must be an object"),
        (HEADERS, [[], {}, {"hostname": "x"}], "must not set 'hostname'"),
        (HEADERS, [[], {}, {"chord": {}}], "'chord' must be a signature"),
        (HEADERS, [[], {}], "must be a list of arguments, keywords and options"),
        (HEADERS, [[nested(MAX_DEPTH)], {}, {}], "the body is nested deeper"),
        ({**HEADERS, "x": nested(MAX_DEPTH)}, BODY, "the headers are nested deeper"),
    ],
)
def test_a_message_that_would_end_a_worker_has_a_problem(
    headers: dict[str, Any], body: Any, problem: str
) -> None:
    assert problem in str(find_problem(message(headers, body)))


@pytest.mark.parametrize("name", ["priority", "reply_to", "correlation_id"])
def test_properties_of_a_wrong_type_are_a_problem(name: str) -> None:
    problem = find_problem(message(HEADERS, properties={name: [1]}))

    assert name in str(problem)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (HEADERS, BODY),
        ({**HEADERS, "x": nested(MAX_DEPTH - 2), "trace": {"a": [1]}}, BODY),
        (HEADERS, [[nested(MAX_DEPTH - 2)], {}, {}]),
        (HEADERS, [[[{}] * 1000], {}, {}]),
        ({}, {"task": "export.note", "id": "1", "args": [], "kwargs": {}}),
    ],
)
def test_a_message_that_celery_can_run_has_no_problem(
    headers: dict[str, Any], body: Any
) -> None:
    assert find_problem(message(headers, body)) is None


@pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")
def test_every_message_that_celery_publishes_is_accepted() -> None:
    app = Celery(
        "app",
        broker="memory://localhost",
        backend="cache+memory://",
        set_as_current=False,
    )
    app.conf.task_default_queue = "published"

    @app.task(name="export.note", shared=False)
    def note(*args: object) -> None: ...

    options: dict[str, Any] = {
        "headers": {"tenant": {"id": 1}},
        "priority": 3,
        "soft_time_limit": 2.5,
        "time_limit": 5,
    }
    step: Any = note.si(1).set(**options)
    step.stamp(tenant=["a"], region="eu")
    flows: list[Any] = [
        step,
        note.s(1).on_error(note.s()).set(expires=60, countdown=1),
        chain(note.s(1), note.s(), group(note.s(), note.s())),
        group(note.s(1), note.s(2) | note.s()),
        chain(note.s(1), chord([note.s(), note.s()], note.s())),
        note.map([1]),
        note.chunks([(1,)], 1),
    ]
    for flow in flows:
        flow.apply_async()
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("published")
        problems = [find_problem(queue.get_nowait()) for _ in range(queue.qsize())]

    assert len(problems) >= len(flows)
    assert problems == [None] * len(problems)
