"""Steps of a workflow, as the messages of Celery's own canvas announce them."""

from __future__ import annotations

import itertools
import json
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group, states
from messages import message
from published_workflows import NOW, published, workflow_app

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._history.purge import find_older, purge
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.planned import planned_steps
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend


@pytest.fixture
def publisher() -> Iterator[Celery]:
    app = workflow_app()
    yield app
    app.close()


def names(records: list[TaskRecord]) -> list[tuple[str, str | None]]:
    """Return the names of the steps of the first record, with their parents' names."""
    [record, *_] = records
    by_id = {step.id: step.name for step in record.planned} | {record.id: record.name}
    return [(each.name, by_id.get(each.parent_id or "")) for each in record.planned]


def test_the_rest_of_a_chain_is_planned_in_order(publisher: Celery) -> None:
    a, b, c, *_ = (publisher.signature(name) for name in "abc")

    assert names(published(publisher, chain(a, b, c))) == [("b", "a"), ("c", "b")]


def test_the_body_of_a_chord_is_planned_once(publisher: Celery) -> None:
    a, b, c = (publisher.signature(name) for name in "abc")
    records = published(publisher, chord([a, b], c))

    assert names(records) == [("c", None)]
    assert len({record.planned for record in records}) == 1


def test_a_chord_in_a_chain_is_planned_with_the_steps_after_it(
    publisher: Celery,
) -> None:
    a, b, c, d, e = (publisher.signature(name) for name in "abcde")
    records = published(publisher, chain(a, group(b, c), d, e))

    assert names(records) == [("b", "a"), ("c", "a"), ("d", None), ("e", "d")]


def test_the_body_of_a_chord_follows_the_group_of_its_header(publisher: Celery) -> None:
    a, b, c, d, e = (publisher.signature(name) for name in "abcde")
    first, _ = published(publisher, chord([a, b], c))
    [body] = first.planned
    [outer] = published(publisher, chain(a, group(b, chain(c, d)), e))
    steps = {step.name: step for step in outer.planned}

    assert body.header_id == first.group_id is not None
    assert steps["e"].header_id == steps["b"].group_id == steps["d"].group_id
    assert steps["e"].header_id is not None
    assert [steps[name].header_id for name in "bcd"] == [None] * 3
    assert steps["c"].group_id is None


def test_a_group_within_a_header_belongs_to_the_header(publisher: Celery) -> None:
    a, b, c, d, e = (publisher.signature(name) for name in "abcde")
    inner = chord([b, group(c, d)], e)
    [record] = published(publisher, chain(a, inner))
    steps = {step.name: step for step in record.planned}

    assert len({steps[name].group_id for name in "bcd"}) == 1
    assert steps["e"].header_id == steps["b"].group_id is not None


def test_a_callback_with_an_id_is_planned_and_an_error_callback_is_not(
    publisher: Celery,
) -> None:
    a, b, c = (publisher.signature(name) for name in "abc")
    b.freeze()
    a.link(b)
    a.link_error(c)

    assert names(published(publisher, a)) == [("b", "a")]


@pytest.mark.parametrize(
    "embedded",
    [
        {"chain": "abc", "chord": [], "callbacks": 17},
        {"chain": [None, 1, {"task": 5, "options": {"task_id": "x"}}]},
        {"chain": [{"task": "b", "options": {"task_id": ["x"]}}]},
        {"chain": [{"task": "b", "options": None}]},
        {"chain": [{"task": "b" * 501, "options": {"task_id": "x"}}]},
        {"chord": {"task": "celery.chord", "kwargs": {"header": 1, "body": 2}}},
        {"chord": {"task": "celery.group", "kwargs": {"tasks": {"a": 1}}}},
    ],
)
def test_values_that_are_not_signatures_are_skipped(embedded: Any) -> None:
    assert planned_steps(embedded, task_id="1") == ()


def steps_of(**embedded: Any) -> list[str]:
    body = json.dumps([[], {}, embedded])
    return [step.id for step in read_task(message(body), seen_at=NOW).planned]


def test_a_compressed_body_announces_no_more_steps_than_it_has_room_for() -> None:
    steps = [{"task": "b", "options": {"task_id": str(n)}} for n in range(9_000)]
    body = zlib.compress(json.dumps([[], {}, {"chain": steps}]).encode(), 9)
    record = read_task(message(body, compression="gzip"), seen_at=NOW)

    assert 0 < len(record.planned) <= len(body) / 24


def test_the_number_of_planned_steps_is_limited() -> None:
    step = {"task": "b", "options": {"task_id": "2"}}

    assert len(steps_of(chain=[step] * 20_000)) == 10_000


def test_the_nesting_of_planned_steps_is_limited() -> None:
    deep: Any = {"task": "b", "options": {"task_id": "2"}}
    for _ in range(150):
        deep = {"task": "celery.chord", "kwargs": {"header": [], "body": deep}}
    step = {"task": "c", "options": {"task_id": "3"}}

    assert steps_of(chord=deep, callbacks=[step]) == ["3"]


def write(store: TaskStore, records: list[TaskRecord]) -> None:
    with store.engine.begin() as connection:
        write_batch(connection, records)


def test_a_step_is_planned_until_its_message_or_its_result_arrives(
    publisher: Celery, backend: Backend, store: TaskStore
) -> None:
    a, b, c = (publisher.signature(name) for name in "abc")
    [record] = published(publisher, chain(a, b, c))
    write(store, [record])
    second, third = (step.id for step in record.planned)

    first, *others = store.workflow(record.id)
    assert (first.name, first.status) == ("a", "QUEUED")
    assert {task.name: task.status for task in others} == {
        "b": "PLANNED",
        "c": "PLANNED",
    }
    assert (store.get(third).parent_id, store.get(third).root_id) == (second, record.id)

    write(store, [read_task(message(id=second, task="b"), seen_at=NOW)])
    backend.store_result(third, 42, states.SUCCESS)

    assert store.get(second).status == "QUEUED"
    assert (store.get(third).status, store.get(third).result) == ("SUCCESS", 42)


def test_the_planned_steps_do_not_depend_on_the_order_of_messages(
    publisher: Celery, template: Path, tmp_path: Path
) -> None:
    a, b, c, d = (publisher.signature(name) for name in "abcd")
    records = published(publisher, chord([a, b, c], d))
    seen = []
    for number, order in enumerate(itertools.permutations(records)):
        copy = shutil.copy(template, tmp_path / f"{number}.sqlite3")
        with TaskStore(f"sqlite:///{copy}") as store:
            write(store, list(order))
            tasks = store.list(limit=10)
        seen.append(sorted((task.id, task.status, task.parent_id) for task in tasks))

    assert all(each == seen[0] for each in seen)
    assert [status for _, status, _ in seen[0]].count("PLANNED") == 1


def test_a_purge_deletes_steps_that_never_arrived(
    publisher: Celery, store: TaskStore
) -> None:
    a, b = (publisher.signature(name) for name in "ab")
    [record] = published(publisher, chain(a, b))
    write(store, [record])
    store.engine.dispose()
    engine = open_engine(database_url(str(store.engine.url)))
    expired = find_older(engine, datetime.now(UTC) + timedelta(days=1))
    deleted = list(purge(engine, expired))
    engine.dispose()

    assert sum(deleted, Counter()) == {"tasks": 2}
    assert store.list() == []
