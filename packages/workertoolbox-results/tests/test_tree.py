from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from cadasta.workertoolbox.results import Task
from cadasta.workertoolbox.results._commands.tree import (
    format_duration,
    in_order,
    workflow_tree,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def task(id: str, parent: str | None = None, **values: Any) -> Task:
    return Task(
        **{
            "id": id,
            "name": f"export.{id}",
            "status": "SUCCESS",
            "queue": "export",
            "args": [],
            "kwargs": {},
            "root_id": "root",
            "parent_id": parent,
            "group_id": None,
            "retries": 0,
            "scheduled_at": START,
            "eta": None,
            "started_at": START + timedelta(seconds=1),
            "finished_at": START + timedelta(seconds=3.5),
            "worker": "w",
            "result": None,
            "traceback": None,
            "tracked": True,
            **values,
        }
    )


def drawn(*tasks: Task) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(workflow_tree(tasks))
    return capture.get()


def test_parents_come_before_their_children_and_siblings_keep_their_order() -> None:
    tasks = [task("root"), task("a", "root"), task("b", "root"), task("c", "a")]

    assert [(depth, one.id) for depth, one in in_order(tasks)] == [
        (0, "root"),
        (1, "a"),
        (2, "c"),
        (1, "b"),
    ]


def test_a_child_of_one_of_celerys_own_tasks_is_shown_under_its_grandparent() -> None:
    tasks = [
        task("root"),
        task("unlock", "root", name="celery.chord_unlock"),
        task("body", "unlock"),
    ]

    assert [(depth, one.id) for depth, one in in_order(tasks)] == [
        (0, "root"),
        (1, "body"),
    ]


def test_one_of_celerys_own_tasks_is_shown_if_it_is_requested() -> None:
    tasks = [task("root"), task("unlock", "root", name="celery.chord_unlock")]

    assert [one.id for _, one in in_order(tasks, requested_id="unlock")] == [
        "root",
        "unlock",
    ]


def test_a_task_whose_parent_is_unknown_is_at_the_top() -> None:
    assert [depth for depth, _ in in_order([task("a", "gone")])] == [0]


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}])
def test_every_task_is_shown_if_parents_form_a_cycle(parents: dict[str, str]) -> None:
    tasks = [task(id, parent) for id, parent in parents.items()]

    assert {one.id for _, one in in_order(tasks)} == set(parents)


def test_a_line_has_status_wait_run_time_and_outcome() -> None:
    text = drawn(
        task("root", result=[1, 2]),
        task(
            "a",
            "root",
            status="FAILURE",
            retries=1,
            result={"exc_type": "ValueError", "exc_message": ["no [bold]way"]},
        ),
        task("b", "root", tracked=False, scheduled_at=None),
    )

    assert "export.root  SUCCESS  wait 1.0 s  run 2.5 s" in text
    assert "→ [1, 2]" in text
    assert "export.a  FAILURE" in text and "retries 1" in text
    assert "ValueError: no [bold]way" in text
    assert "untracked" in text


def test_the_time_until_the_eta_is_not_part_of_the_wait() -> None:
    one = task("a", eta=START + timedelta(seconds=0.75))

    assert one.wait_s == 0.25


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (3.44, "3.4 s"), (125, "2 min 5 s"), (59.99, "60.0 s")],
)
def test_a_duration_is_shown_in_a_suitable_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
