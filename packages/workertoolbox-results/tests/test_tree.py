from __future__ import annotations

import io
from dataclasses import replace
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


def test_the_beginning_of_a_result_is_not_shown_as_the_result() -> None:
    assert "(the beginning of" not in drawn(task("a", result=[1]))
    assert "(the beginning of 70,000 bytes)" in drawn(
        task("a", result=[1], result_bytes=70_000)
    )


def test_the_time_until_the_eta_is_not_part_of_the_wait() -> None:
    one = task("a", eta=START + timedelta(seconds=0.75))

    assert one.wait_s == 0.25


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (3.44, "3.4 s"), (125, "2 min 5 s"), (59.99, "60.0 s")],
)
def test_a_duration_is_shown_in_a_suitable_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def lines_at(width: int, tasks: list[Task]) -> list[str]:
    """Return the lines that a terminal of a width shows."""
    console = Console(width=width, file=io.StringIO())
    console.print(workflow_tree(tasks))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def chain(length: int) -> list[Task]:
    ids = ["root", *(f"{n:08d}-af2e-4f66-afd6-ffc28ee93861" for n in range(length))]
    return [task(id, ids[n - 1] if n else None) for n, id in enumerate(ids)]


@pytest.mark.parametrize("width", [40, 80, 200, 100_000])
@pytest.mark.parametrize("shape", ["chain", "group"])
def test_every_task_is_drawn_at_every_width(width: int, shape: str) -> None:
    tasks = chain(1000)
    if shape == "group":
        tasks = [tasks[0], *(replace(one, parent_id="root") for one in tasks[1:])]
    lines = lines_at(width, tasks)

    assert all(len(line) <= width for line in lines)
    text = "".join(line.strip("│├─└ ") for line in lines)
    assert all(one.id in text for one in tasks)


def test_the_cost_of_drawing_a_chain_is_linear() -> None:
    tasks = chain(5_000)
    lines = lines_at(25_000, tasks)

    # Indented by its level, the chain would take 50 MB.
    assert sum(map(len, lines)) < 1_250_000
    assert len(lines) == len(tasks)
    assert f"[5000] {tasks[-1].name}" in lines[-1]


def test_parts_that_do_not_fit_are_continued_on_the_next_line() -> None:
    long = task("b" * 100, "root", name="n" * 100)
    lines = lines_at(40, [task("root"), long, task("c", "root")])

    text = "".join(line.strip("│├─└ ") for line in lines)
    assert "n" * 100 in text and "b" * 100 in text
    first = next(n for n, line in enumerate(lines) if line.startswith("├── nnn"))
    assert all(line.startswith("│   ") for line in lines[first + 1 : first + 6])


def test_the_requested_task_shows_who_has_published_it() -> None:
    sender = {"origin": "gen1@host", "service": "billing", "schedule": "nightly"}
    root = task("root", **sender, headers={"order": "a\x1b"})
    child = task("child", "root", **sender)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(workflow_tree([root, child], requested_id="root"))

    assert [line.strip() for line in capture.get().splitlines()[1:3]] == [
        "from billing gen1@host  schedule nightly",
        'headers {"order": "a\\u001b"}',
    ]
    assert capture.get().count("billing") == 1
    assert "billing" not in drawn(root, child)


def test_texts_of_others_cannot_control_the_terminal() -> None:
    evil = "\x1b]0;x\x07\x9b31m\u202e\u200b\r\n:smile:[bold]"
    error = {"exc_type": evil, "exc_message": [evil]}
    tasks = [
        task("root", name=evil, result=error, status="FAILURE"),
        task(evil, "root", status=evil, result=evil),
    ]
    text = "\n".join(lines_at(80, tasks))

    assert all(each.isprintable() for each in text.splitlines())
    assert ":smile:[bold]" in text
    assert r"\x1b]0;x\x07\x9b31m\u202e\u200b\r\n" in text.replace("\n", "")


@pytest.mark.parametrize("length", [0, 1, 5000])
def test_a_long_chain_of_celerys_own_tasks_is_passed_over(length: int) -> None:
    own = [
        task(f"c{n}", f"c{n - 1}" if n else "root", name="celery.chord_unlock")
        for n in range(length)
    ]
    body = task("body", own[-1].id if own else "root")

    assert [depth for depth, _ in in_order([body, *own, task("root")])] == [0, 1]


def test_tasks_that_lead_to_a_cycle_are_at_the_top() -> None:
    tasks = [task("a", "b"), task("b", "c"), task("c", "b"), task("d", "a")]

    assert [depth for depth, _ in in_order(tasks)] == [0, 0, 0, 0]
