"""`TaskStore.details` and the page of a task, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._store.rows.task_rows import MAX_BYTES
from cadasta.workertoolbox.results.web import create_app
from support.task_histories import History

#: More than a page reads; as JSON, it is four bytes longer.
LONG = ["é" * MAX_BYTES]


@pytest.fixture
def store(past: History) -> Iterator[TaskStore]:
    with TaskStore(past.app.conf.result_backend) as store:
        yield store


@pytest.mark.parametrize("is_archived", [False, True])
def test_of_a_long_result_only_the_beginning_is_read(
    past: History, store: TaskStore, is_archived: bool
) -> None:
    past.publish()
    past.store("SUCCESS", LONG)
    if is_archived:
        assert past.archive() == 1
    task = store.details("1").task

    # Celery encodes characters that are not ASCII as escapes of six bytes.
    assert task.result_bytes == 6 * MAX_BYTES + 4
    [beginning] = task.result
    assert {*beginning} == {"é"}
    # The history has kept less.
    assert (len(beginning) == (MAX_BYTES - 2) // 6) == (not is_archived)


@pytest.mark.parametrize("is_archived", [False, True])
def test_relatives_are_found_live_and_in_the_history(
    past: History, store: TaskStore, is_archived: bool
) -> None:
    past.publish("root")
    inside: dict[str, Any] = {"root_id": "root", "parent_id": "root", "group": "g"}
    for id in ("a", "b", "c"):
        past.publish(id, **inside)
    past.publish("leaf", root_id="root", parent_id="a")
    if is_archived:
        for id in ("root", "a", "b", "c", "leaf"):
            past.store("SUCCESS", None, id)
        assert past.archive() == 5
    root, first = store.details("root", limit=2), store.details("a", limit=2)

    assert len(root.children.tasks) == 2
    assert root.children.others == 1
    assert {each.id for each in first.siblings.tasks} == {"b", "c"}
    assert [each.id for each in first.children.tasks] == ["leaf"]
    assert {*first.known} == {"root", "b", "c", "leaf"}


def test_the_pages_show_a_task(past: History, store: TaskStore) -> None:
    past.publish()
    past.store("FAILURE", ValueError("<b>no map</b>"))
    past.archive()
    with TestClient(create_app(store)) as client:
        found = client.get("/tasks?query=status:failure")
        page = client.get("/tasks/1")
        table = client.get("/tasks.csv?query=status:failure")

    assert 'id="task-1"' in found.text
    assert "ValueError: &lt;b&gt;no map&lt;/b&gt;" in page.text
    assert table.text.splitlines()[1].startswith("1,export.echo,FAILURE,")
