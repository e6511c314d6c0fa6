"""The statuses that the tasks of an export must reach."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from cadasta.workertoolbox.results import Task
from export_service.workflow import RETRIES, find_failures, find_problems, planned


def task(name: str, number: int = 0) -> Task:
    return Task(
        id=f"{name}-{number}",
        name=name,
        status="FAILURE" if name == "msg.webhook" else "SUCCESS",
        queue=name.partition(".")[0],
        args=None,
        kwargs=None,
        root_id=None,
        parent_id=None,
        group_id=None,
        retries=RETRIES.get(name, 0),
        scheduled_at=None,
        eta=None,
        started_at=None,
        finished_at=None,
        worker=None,
        result=None,
        traceback=None,
        tracked=True,
    )


PLAN = planned({"chunks": 2, "webhook": "id"})
TASKS = [task(name, number) for name in PLAN for number in range(PLAN[name])]


def test_an_export_has_two_tasks_for_each_chunk_and_some_single_ones() -> None:
    assert planned({"chunks": 3}) == {
        "export.project": 1,
        "export.describe": 3,
        "export.pack": 3,
        "msg.announce": 1,
        "export.bundle": 1,
        "msg.notify": 1,
        "msg.remind": 1,
    }


def test_an_empty_export_has_no_chunks() -> None:
    assert "export.pack" not in planned({"chunks": 0})


def test_a_task_that_fails_on_purpose_is_planned_when_it_was_asked_for() -> None:
    assert planned({"chunks": 1, "webhook": "id"})["msg.webhook"] == 1


def test_an_export_that_went_well_has_no_problems() -> None:
    assert find_problems(TASKS, PLAN) == []
    assert find_failures(TASKS) == []


def test_a_missing_task_is_a_problem() -> None:
    assert find_problems(TASKS[1:], PLAN) == [
        "export.describe: 1 of 2 tasks in the database"
    ]


def test_an_extra_task_is_a_problem() -> None:
    assert find_problems([*TASKS, task("msg.remind", 1)], PLAN) == [
        "msg.remind: 2 of 1 tasks in the database"
    ]


def test_an_untracked_task_is_a_problem() -> None:
    tasks = [replace(TASKS[0], tracked=False), *TASKS[1:]]

    assert find_problems(tasks, PLAN) == [
        "export.describe export.describe-0: the monitor has not seen its message"
    ]


def test_a_task_that_failed_is_a_problem_and_a_failure() -> None:
    tasks = [replace(TASKS[0], status="FAILURE"), *TASKS[1:]]

    assert find_problems(tasks, PLAN) == [
        "export.describe export.describe-0: FAILURE instead of SUCCESS"
    ]
    assert find_failures(tasks) == tasks[:1]


def test_a_task_that_should_fail_and_does_not_is_a_problem() -> None:
    hook = replace(task("msg.webhook"), status="SUCCESS")

    assert find_problems([hook], Counter({"msg.webhook": 1})) == [
        "msg.webhook msg.webhook-0: SUCCESS instead of FAILURE"
    ]


def test_a_task_that_should_be_retried_and_was_not_is_a_problem() -> None:
    tasks = [
        replace(one, retries=0) if one.name == "msg.announce" else one for one in TASKS
    ]

    assert find_problems(tasks, PLAN) == [
        "msg.announce msg.announce-0: retried 0 times"
    ]
