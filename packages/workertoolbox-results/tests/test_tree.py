from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console
from workflow_tasks import START, at, not_run, planned, queued, task

from cadasta.workertoolbox.results import Task
from cadasta.workertoolbox.results._commands.tree import workflow_tree
from cadasta.workertoolbox.results._commands.workflow_lines import workflow_lines
from cadasta.workertoolbox.results._workflows.summary import make_workflow
from cadasta.workertoolbox.results._workflows.workflow import Workflow


def workflow(
    tasks: Iterable[Task], headers: Mapping[str, str] | None = None
) -> Workflow:
    """Return a workflow ten minutes after it began."""
    return make_workflow(
        tasks, now=START + timedelta(minutes=10), header_ids=headers, internal=True
    )


def drawn(
    *tasks: Task,
    headers: Mapping[str, str] | None = None,
    limit: int | None = None,
    requested_id: str | None = None,
) -> str:
    """Return what a wide terminal shows."""
    console = Console(width=200)
    flow = workflow(tasks, headers)
    with console.capture() as capture:
        console.print(workflow_tree(flow, limit=limit, requested_id=requested_id))
    return capture.get()


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
        task("b", "root", tracked=False, published=None),
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


def lines_at(width: int, tasks: list[Task]) -> list[str]:
    """Return the lines that a terminal of a width shows."""
    console = Console(width=width, file=io.StringIO())
    console.print(workflow_tree(workflow(tasks)))
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


def test_the_requested_task_shows_its_times_its_worker_and_its_sender() -> None:
    sender: dict[str, Any] = {
        "origin": "gen1@host",
        "service": "billing",
        "schedule": "nightly",
    }
    root = task("root", **sender, headers={"order": "a\x1b"}, worker="celery@a\x1b")
    child = task("child", "root", **sender)
    text = drawn(root, child, requested_id="root")

    published, place, *others = [line.strip() for line in text.splitlines()[1:5]]
    assert published.startswith("published ") and "  ended " in published
    assert place.endswith(r"worker celery@a\x1b")
    assert others == [
        "from billing gen1@host  schedule nightly",
        'headers {"order": "a\\u001b"}',
    ]
    assert text.count("billing") == 1
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


def test_the_critical_path_and_the_requested_task_are_marked() -> None:
    tasks = [task("root"), task("a", "root"), task("b", "root", ended=9)]
    lines = drawn(*tasks, requested_id="b").splitlines()

    assert [line.partition("  ")[0] for line in lines[:3]] == [
        *("◆ export.root", "├── export.a", "└── ▶ ◆ export.b")
    ]
    assert "◆" not in drawn(task("root"))


def test_the_reason_of_a_step_that_was_not_run_is_drawn_in_full() -> None:
    failed = task("b" * 60, status="FAILURE")
    text = drawn(failed, not_run("c", failed.id))

    assert f"      not run: export.{failed.id}[{failed.id}] failed" in text


def test_a_planned_body_is_drawn_with_its_header() -> None:
    text = drawn(
        task("a", group="g"),
        planned("body"),
        planned("c", "body"),
        headers={"body": "g"},
    )

    assert "◆ export.body  PLANNED  chord body  body" in text
    assert "└── ◆ export.c  PLANNED  c" in text


@pytest.mark.parametrize("shape", ["chain", "group"])
def test_a_large_workflow_is_drawn_in_part(shape: str) -> None:
    tasks = chain(10_000)
    if shape == "group":
        tasks = [tasks[0], *(replace(one, parent_id="root") for one in tasks[1:])]
    tasks[7000] = replace(tasks[7000], status="FAILURE", result="no")
    tasks[8000] = replace(tasks[8000], finished_at=at(9))
    for n in (9000, 9500):
        tasks[n] = replace(tasks[n], status="QUEUED", finished_at=None)
    text = drawn(*tasks, limit=100, requested_id=tasks[6000].id)
    lines = text.splitlines()

    assert sum("SUCCESS  " in line or "QUEUED  " in line for line in lines) < 100
    assert all(tasks[n].id in text for n in (0, 1, 6000, 7000, 9000, 9500))
    assert "SUCCESS" in lines[-1] and " more: " in lines[-1]
    assert f"{tasks[9000].name}  QUEUED" in text
    if shape == "chain":
        assert f"[9000] ◆ {tasks[9000].name}" in text


def test_the_end_of_a_critical_path_is_drawn() -> None:
    group = [task(f"a{n}", "root") for n in range(99)]
    group[77] = task("last", "root", ended=9)

    assert "◆ export.last" in drawn(task("root"), *group, limit=30)


def test_tasks_that_are_left_out_are_counted_below_the_task_above_them() -> None:
    group = [task(f"a{n}", "root", status="SUCCESS") for n in range(30)]
    below = [task(f"b{n}", f"a{n}", status="IGNORED") for n in range(20, 30)]
    text = drawn(task("root", ended=99), *group, *below, queued("last"), limit=24)

    assert text.count("SUCCESS  wait") == 21
    assert "└── … 20 more: 10 IGNORED, 10 SUCCESS\n" in text


def test_a_failed_task_is_shown_with_the_run_that_mended_it() -> None:
    failed = task("a", "root", status="FAILURE")
    again: dict[str, Any] = {"rerun_of": "a", "published": 5}

    assert "\n│     mended by x\n" in drawn(
        task("root"), failed, task("x", "root", **again)
    )
    assert "\n│     run again as x\n" in drawn(
        task("root"), failed, task("x", "root", status="STARTED", **again)
    )


def told(*tasks: Task, headers: Mapping[str, str] | None = None) -> list[str]:
    return [*workflow_lines(workflow(tasks, headers))]


def test_a_finished_workflow_is_summarized_in_two_lines() -> None:
    failed = task("b", "root", published=3, started=4, ended=66, status="FAILURE")

    assert told(task("root"), task("a", "root"), failed) == [
        "partly failed after 1.1 min: 2 SUCCESS, 1 FAILURE",
        "critical path ◆ of 2 tasks, 1.1 min, longest wait 1.0 s of export.root,"
        " longest run 1.0 min of export.b",
    ]
    assert told(task("root")) == ["done after 3.5 s: 1 SUCCESS"]
    assert told() == []


@pytest.mark.parametrize(
    ("held", "text"),
    [
        (task("a", started=360, ended=None), "running on w for 4.0 min"),
        (task("a", started=None, ended=None, status="PROGRESS"), "running"),
        (queued("a", published=0), "queued in export for 10.0 min"),
        (
            queued("a", status="SCHEDULED", eta=at(4000)),
            "scheduled for 2026-01-01 01:06:40",
        ),
        (
            task("a", ended=None, status="RETRY", retries=3, eta=at(4000)),
            "waiting for its retry 3 until 2026-01-01 01:06:40",
        ),
        (
            task("a", ended=None, status="RETRY", retries=3, eta=at(40)),
            "waiting for its retry 3 in export",
        ),
        (planned("a", "root"), "planned: no monitor has seen its message"),
    ],
)
def test_one_line_says_what_holds_a_workflow_up(
    held: Task, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    assert told(task("root"), held)[-1] == f"waits for export.a a, {text}"
    others = [task("b", started=500, ended=None), queued("c", published=500)]
    assert told(held, *others)[-1].endswith(", and for 2 other tasks")
