"""Trees, statuses and critical paths of workflows, without a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workflow_tasks import at, not_run, planned, queued, task

from cadasta.workertoolbox.results import Task
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._workflows.summary import make_workflow
from cadasta.workertoolbox.results._workflows.workflow import Workflow


def workflow(
    *tasks: Task, headers: Mapping[str, str] | None = None, **options: Any
) -> Workflow:
    """Return a workflow a hundred seconds after it began."""
    now = at(100)
    assert now is not None
    return make_workflow(tasks, now=now, header_ids=headers, **options)


def tree(flow: Workflow) -> list[str]:
    """Return the ids in the tree, each with a hyphen per level before it."""
    return ["-" * depth + node.task.id for depth, node in flow.walk()]


def path(flow: Workflow) -> list[str]:
    return [step.task.id for step in flow.critical_path]


def seconds(flow: Workflow) -> list[tuple[float | None, float | None]]:
    return [(step.wait_s, step.run_s) for step in flow.critical_path]


def holdups(flow: Workflow) -> list[tuple[str, str, float | None]]:
    return [(each.task.id, each.activity, each.for_s) for each in flow.held_up_by]


def test_a_workflow_is_a_sequence_of_its_tasks() -> None:
    tasks = [task("root"), task("a", "root")]
    flow = workflow(*tasks)

    assert [*flow] == tasks == flow and flow != tasks[:1] and flow != "ra"
    assert (len(flow), flow[1], flow[-1:]) == (2, tasks[1], tasks[1:])
    assert flow.index(tasks[1]) == 1 and tasks[0] in flow


def test_a_workflow_without_tasks_has_no_status() -> None:
    flow = workflow()

    assert flow == [] and not flow
    assert (flow.status, flow.roots, flow.critical_path) == (None, [], ())
    assert (flow.held_up_by, flow.counts, flow.finished_at) == ([], {}, None)


# Trees


def test_parents_come_before_their_children_and_siblings_keep_their_order() -> None:
    tasks = [task("root"), task("a", "root"), task("b", "root"), task("c", "a")]

    assert tree(workflow(*tasks)) == ["root", "-a", "--c", "-b"]


def test_a_task_whose_parent_is_unknown_is_at_the_top() -> None:
    assert tree(workflow(task("a", "gone"))) == ["a"]


def test_a_child_of_one_of_celerys_own_tasks_is_shown_under_its_grandparent() -> None:
    tasks = [
        task("root"),
        task("unlock", "root", name="celery.chord_unlock"),
        task("other", "root", ended=9),
        task("body", "unlock"),
    ]
    flow = workflow(*tasks)

    assert tree(flow) == ["root", "-body", "-other"]
    assert len(flow) == 3
    assert tree(workflow(*tasks, internal=True)) == [
        *("root", "-unlock", "--body", "-other")
    ]


def test_one_of_celerys_own_tasks_is_in_the_tree_if_it_is_on_the_path() -> None:
    own: dict[str, Any] = {"name": "celery.accumulate"}
    flow = workflow(task("root"), task("last", "root", ended=9, **own))

    assert tree(flow) == ["root", "-last"]
    assert [each.id for each in flow] == ["root"]


@pytest.mark.parametrize("length", [0, 1, 5000])
def test_a_long_chain_of_celerys_own_tasks_is_passed_over(length: int) -> None:
    own = [
        task(f"c{n}", f"c{n - 1}" if n else "root", name="celery.chord_unlock", ended=1)
        for n in range(length)
    ]
    body = task("body", own[-1].id if own else "root", ended=1)
    last = task("last", "root", ended=5)

    assert tree(workflow(body, *own, task("root"), last)) == ["root", "-body", "-last"]


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}])
def test_every_task_is_shown_if_parents_form_a_cycle(parents: dict[str, str]) -> None:
    tasks = [task(id, parent) for id, parent in parents.items()]

    assert [id.strip("-") for id in tree(workflow(*tasks))] == [*parents]


def test_a_task_that_replaced_itself_is_above_the_tasks_that_replace_it() -> None:
    flow = workflow(
        task("x", "member", published=0, started=4, ended=5),
        task("member", "x", published=1, started=2, ended=3),
        task("next", "x", published=4.5, started=6, ended=7),
    )

    assert tree(flow) == ["x", "-member", "-next"]
    assert path(flow) == ["member", "x", "next"]
    assert seconds(flow) == [(2, 1), (1, 0.5), (1.5, 1)]


def test_tasks_that_lead_to_a_cycle_are_below_it() -> None:
    tasks = [task("a", "b"), task("b", "c"), task("c", "b"), task("d", "a")]

    assert tree(workflow(*tasks)) == ["b", "-a", "--d", "-c"]


def test_a_path_ends_where_planned_steps_return_to_it() -> None:
    flow = workflow(planned("b", "a"), planned("a", "b"), planned("c", "a"))

    assert path(flow) == ["a", "b"]


def test_a_planned_body_is_beside_the_tasks_of_its_header() -> None:
    flow = workflow(
        task("root"),
        task("a", "root", group="g"),
        planned("after", "body", group="g"),
        planned("body", group="g"),
        planned("b", "root", group="g"),
        headers={"body": "g"},
    )

    assert tree(flow) == ["root", "-a", "-b", "-body", "--after"]
    assert [node.header_id for _, node in flow.walk()] == [None, None, None, "g", None]


def test_a_planned_body_is_below_the_task_above_all_chains_of_its_header() -> None:
    chains = [
        planned(f"{name}{n}", f"{name}{n - 1}" if n else "root", group="g" if n else "")
        for name in "ab"
        for n in range(2)
    ]
    flow = workflow(
        task("root"), *chains, planned("body", group="g"), headers={"body": "g"}
    )

    assert tree(flow) == ["root", "-a0", "--a1", "-b0", "--b1", "-body"]


def test_a_planned_body_is_beside_the_chords_of_its_header() -> None:
    flow = workflow(
        task("root"),
        queued("a", "root", group="inner"),
        queued("b", "root", group="outer"),
        planned("outer body", group="outer"),
        planned("inner body", group="outer"),
        planned("step", "inner body", group="outer"),
        headers={"inner body": "inner", "outer body": "outer"},
    )

    assert tree(flow) == ["root", "-a", "-b", "-outer body", "-inner body", "--step"]


def test_a_planned_body_is_below_the_body_that_comes_before_its_header() -> None:
    flow = workflow(
        task("root"),
        queued("a", "root", group="1"),
        queued("b", "root", group="3"),
        planned("body 1"),
        planned("c", "body 1", group="2"),
        planned("body 2", group="3"),
        planned("body 3"),
        headers={"body 1": "1", "body 2": "2", "body 3": "3"},
    )

    assert tree(flow) == [
        *("root", "-a", "-b", "-body 1", "--c", "--body 2", "-body 3")
    ]


def test_the_highest_task_of_a_header_decides_where_its_body_is() -> None:
    flow = workflow(
        task("root"),
        *(task("a", "root"), task("aa", "a"), task("aaa", "aa", group="g")),
        *(queued("b", "root", group="g"), queued("c", "a", group="g")),
        planned("body"),
        headers={"body": "g"},
    )

    assert tree(flow) == ["root", "-a", "--aa", "---aaa", "--c", "-b", "-body"]


def test_a_planned_body_is_beside_a_header_that_consists_of_chords() -> None:
    inner = [planned(f"body {n}", group="outer") for n in range(2)]
    flow = workflow(
        task("root"),
        *(queued(f"{n}", "root", group=f"{n}") for n in range(2)),
        *(*inner, planned("outer body")),
        headers={"body 0": "0", "body 1": "1", "outer body": "outer"},
    )

    assert tree(flow) == ["root", "-0", "-1", "-body 0", "-body 1", "-outer body"]


@pytest.mark.parametrize(
    "tasks",
    [
        [planned("a", group="x"), planned("b", group="y")],
        [
            *(planned("a"), planned("b")),
            *(planned("c", "b", group="y"), planned("d", "a", group="x")),
        ],
        [planned("a"), planned("b")],
    ],
)
def test_forged_announcements_cannot_hide_a_step(tasks: list[Task]) -> None:
    flow = workflow(*tasks, headers={"a": "y", "b": "x"})

    assert sorted(id.strip("-") for id in tree(flow)) == [each.id for each in tasks]
    assert flow.status == "waiting"
    assert len({*path(flow)}) == len(path(flow)) > 0


# Statuses


FAILED: dict[str, Any] = {"status": "FAILURE"}


@pytest.mark.parametrize(
    ("status", "tasks"),
    [
        ("done", [task("root"), task("a", "root", status="IGNORED")]),
        ("running", [task("root"), task("a", "root", ended=None), queued("b", "root")]),
        ("running", [task("a", ended=None, status="PROGRESS")]),
        ("waiting", [task("root"), queued("a", "root"), planned("b", "a")]),
        ("waiting", [task("a", ended=None, status="RETRY")]),
        ("waiting", [task("root", **FAILED), planned("a", "root")]),
        # A chain.
        ("failed", [task("root"), task("a", "root", **FAILED), not_run("b", "a")]),
        ("failed", [task("root"), task("a", "root", **FAILED)]),
        ("failed", [task("root", status="REVOKED"), not_run("a", "root")]),
        ("failed", [task("root", status="LOST")]),
        # A group.
        ("partly failed", [task("a", group="g"), task("b", group="g", **FAILED)]),
        ("failed", [task(id, group="g", **FAILED) for id in "ab"]),
        # A chord with a failed header, and one with a failed body.
        (
            "failed",
            [
                *(task("a", group="g"), task("b", group="g", **FAILED)),
                *(not_run("body", "b"), not_run("after", "body", group="g")),
            ],
        ),
        (
            "failed",
            [task(id, group="g") for id in "ab"]
            + [task("body", "b", group="g", **FAILED)],
        ),
        # A task failed, and its error callback has succeeded.
        ("partly failed", [task("root", **FAILED), task("callback", "root")]),
    ],
)
def test_a_workflow_has_one_status(status: str, tasks: list[Task]) -> None:
    flow = workflow(*tasks)

    assert flow.status == status
    assert flow.counts == Counter(each.status for each in tasks)
    assert (flow.finished_at is None) == (status in ("running", "waiting"))


def rerun(id: str, of: str, parent: str | None = None, **values: Any) -> Task:
    return task(id, parent, rerun_of=of, **{"published": 5, **values})


@pytest.mark.parametrize(
    ("status", "reruns", "tasks"),
    [
        # A chain whose failed step was run again with the step after it.
        ("done", {"a": "x", "b": "y"}, [rerun("x", "a", "r"), rerun("y", "b", "x")]),
        ("waiting", {"a": "x"}, [rerun("x", "a", "r"), planned("y", "x")]),
        ("failed", {"a": "x"}, [rerun("x", "a", "r", **FAILED), not_run("y", "x")]),
        # The rerun failed, and was run again.
        (
            "done",
            {"a": "x2", "x": "x2", "b": "y"},
            [
                rerun("x", "a", "r", **FAILED),
                *(rerun("x2", "x", "r", published=6), rerun("y", "b", "x2")),
            ],
        ),
        # It was run again twice, and the last one failed.
        (
            "failed",
            {"a": "x2", "x": "x2"},
            [
                *(rerun("x2", "a", "r", published=7, **FAILED), not_run("y", "x2")),
                rerun("x", "a", "r", published=6),
            ],
        ),
        # Forged headers.
        (
            "partly failed",
            {},
            [rerun("x", "x", "r"), rerun("y", "z"), rerun("z", "y")],
        ),
    ],
)
def test_of_a_task_that_was_run_again_the_newest_run_counts(
    status: str, reruns: Mapping[str, str], tasks: list[Task]
) -> None:
    chain = [task("r"), task("a", "r", **FAILED), not_run("b", "a")]
    flow = workflow(*chain, *tasks)

    assert (flow.status, flow.reruns) == (status, reruns)
    assert flow.as_json()["reruns"] == reruns


def test_a_failed_task_of_a_header_that_was_run_again_does_not_count() -> None:
    header = [task("a", group="g"), task("b", group="g", **FAILED)]
    failed = [*header, not_run("body", "b")]
    again = [rerun("x", "b", group="h"), rerun("y", "body", "x", group="h")]

    assert workflow(*failed).status == "failed"
    assert workflow(*failed, *again).status == "done"


def test_the_times_of_a_workflow_are_those_of_its_first_and_last_tasks() -> None:
    root, *others = task("root", started=2), task("a", "root", published=1, ended=9)
    flow = workflow(root, *others)

    assert (flow.scheduled_at, flow.started_at) == (at(0), at(1))
    assert flow.finished_at == at(9)
    assert workflow(root, *others, queued("b", "root")).finished_at is None


# Critical paths


def test_the_path_of_a_chain_is_the_chain() -> None:
    flow = workflow(
        task("a", published=0, started=1, ended=3.1),
        # Celery publishes the next step before it stores the end of the one before.
        task("b", "a", published=3, started=10, ended=12),
    )

    assert path(flow) == ["a", "b"]
    assert seconds(flow) == [(1, 2), (7, 2)]


def test_the_path_of_a_chord_leads_through_the_task_that_published_the_body() -> None:
    flow = workflow(
        task("root", published=0, started=1, ended=2),
        task("quick", "root", group="g", published=2, started=3, ended=4),
        task("slow", "root", group="g", published=2, started=3, ended=20),
        task("body", "slow", group="g", published=20, started=21, ended=22),
    )

    assert path(flow) == ["root", "slow", "body"]
    assert seconds(flow) == [(1, 1), (1, 17), (1, 1)]


def test_the_path_of_a_group_leads_to_the_task_that_ended_last() -> None:
    tasks = [
        task(id, group="g", ended=end) for id, end in (("a", 5), ("b", 9), ("c", 7))
    ]

    assert path(workflow(*tasks)) == ["b"]


def test_the_path_of_a_failed_workflow_ends_with_the_failed_task() -> None:
    flow = workflow(
        task("a"), task("b", "a", ended=5, **FAILED), not_run("c", "b", ended=60)
    )

    assert path(flow) == ["a", "b"]
    assert path(workflow(not_run("c", "b"))) == ["c"]
    assert not task("a", result="not run: a text").not_run


def test_a_task_that_runs_on_counts_until_it_has_published_the_next_one() -> None:
    flow = workflow(
        task("root", published=0, started=1, ended=50),
        task("a", "root", published=5, started=6, ended=60),
    )

    assert seconds(flow) == [(1, 4), (1, 54)]


def test_seconds_that_are_not_known_are_none() -> None:
    untracked = task("a", published=None, started=4, ended=6)
    without_start = task("b", "a", published=5, started=None, ended=9, worker="w")
    revoked = task("c", "b", published=9, started=None, ended=12, status="REVOKED")

    assert seconds(workflow(untracked)) == [(None, 2)]
    assert seconds(workflow(untracked, without_start)) == [(None, 1), (None, None)]
    assert seconds(workflow(untracked, without_start, revoked))[-1] == (3, None)


def test_the_time_until_a_retry_is_a_wait() -> None:
    retry = task("a", published=10, started=40, ended=None, status="RETRY")

    assert seconds(workflow(retry)) == [(90, None)]


def test_the_path_of_an_unfinished_workflow_goes_on_with_its_planned_steps() -> None:
    flow = workflow(
        task("root", published=0, started=1, ended=2),
        task("a", "root", group="g", published=2, started=3, ended=4),
        task("b", "root", group="g", published=2, started=3, ended=None),
        planned("body", group="g"),
        planned("after", "body"),
        planned("callback", "b"),
        headers={"body": "g"},
    )

    assert path(flow) == ["root", "b", "body", "after"]
    assert seconds(flow) == [(1, 1), (1, 97), (None, None), (None, None)]
    assert holdups(flow) == [("b", "running", 97)]


def test_the_path_leads_to_the_task_with_the_most_planned_steps_behind_it() -> None:
    flow = workflow(
        task("old", published=0, started=1, ended=None),
        task("new", published=50, started=51, ended=None),
        planned("next", "new"),
    )

    assert [id for id, *_ in holdups(flow)] == ["old", "new"]
    assert path(flow) == ["new", "next"]


# What holds a workflow up


@pytest.mark.parametrize(
    ("held", "activity", "for_s"),
    [
        (task("a", started=40, ended=None), "running", 60),
        (task("a", started=40, ended=None, status="PROGRESS"), "running", 60),
        (queued("a", published=10), "queued", 90),
        (queued("a", published=10, eta=at(30)), "queued", 70),
        (queued("a", published=10, eta=at(300), status="SCHEDULED"), "scheduled", 90),
        (queued("a", published=10, status="RECEIVED"), "queued", 90),
        (task("a", started=40, ended=None, status="RETRY"), "retrying", 60),
        (planned("a", "root"), "planned", None),
        (planned("a", "gone"), "planned", None),
    ],
)
def test_an_unfinished_task_holds_a_workflow_up(
    held: Task, activity: str, for_s: float | None
) -> None:
    flow = workflow(task("root"), held)

    assert holdups(flow) == [("a", activity, for_s)]
    assert path(flow)[-1] == "a"


def test_a_running_task_with_unfinished_tasks_beneath_it_is_left_out() -> None:
    root = task("root", ended=None)
    between = task("between", "root")

    assert holdups(workflow(root, between, queued("a", "between"))) == [
        ("a", "queued", 100)
    ]
    assert holdups(workflow(root, between, planned("a", "root"))) == [
        ("root", "running", 99)
    ]


def test_a_body_waits_for_each_task_of_its_header() -> None:
    tasks = [task("a", group="g"), planned("body", group="g"), planned("next", "body")]
    headers = {"body": "g"}

    assert holdups(workflow(*tasks, queued("b", group="g"), headers=headers)) == [
        ("b", "queued", 100)
    ]
    other = task("b", group="g", ended=3)
    flow = workflow(*tasks, other, headers=headers)
    assert holdups(flow) == [("body", "planned", None)]
    assert path(flow) == ["a", "body", "next"]


def test_those_that_have_lasted_longest_are_first_and_planned_steps_last() -> None:
    flow = workflow(
        planned("lost", "gone"),
        queued("new", published=20),
        task("old", started=5, ended=None),
        queued("between", published=10),
    )

    assert [id for id, *_ in holdups(flow)] == ["old", "between", "new", "lost"]


def test_celerys_own_tasks_hold_a_workflow_up_only_if_nothing_else_does() -> None:
    own = queued("unlock", name="celery.chord_unlock")

    assert [id for id, *_ in holdups(workflow(own, queued("a")))] == ["a"]
    assert [id for id, *_ in holdups(workflow(own))] == ["unlock"]


# Random workflows

IDS = [f"t{n}" for n in range(12)]
SECONDS = st.integers(0, 99) | st.none()


@st.composite
def random_tasks(draw: st.DrawFn) -> tuple[list[Task], dict[str, str]]:
    """Return tasks of any shape, with forged parents and groups, and their headers."""
    ids = draw(st.lists(st.sampled_from(IDS), unique=True))
    choice = st.none() | st.sampled_from(IDS)
    tasks = [
        task(
            *(id, draw(choice)),
            group=draw(st.none() | st.sampled_from("gh")),
            published=draw(SECONDS),
            started=draw(SECONDS),
            ended=draw(SECONDS) if status in ENDED else None,
            status=status,
            name=draw(st.sampled_from(["export.a", "celery.chord_unlock"])),
        )
        for id in ids
        for status in [draw(st.sampled_from(["PLANNED", "QUEUED", "RETRY", *ENDED]))]
    ]
    headers = st.dictionaries(st.sampled_from(IDS), st.sampled_from("gh"))
    return tasks, draw(headers)


@given(random_tasks(), st.booleans())
def test_every_workflow_has_a_tree_and_a_path_of_its_tasks(
    values: tuple[list[Task], dict[str, str]], internal: bool
) -> None:
    tasks, headers = values
    flow = workflow(*tasks, headers=headers, internal=internal)
    shown = [node.task.id for _, node in flow.walk()]
    on_path, waiting = path(flow), [each.task.id for each in flow.held_up_by]
    known = {each.id for each in tasks if internal or not each.internal}

    assert [each.id for each in flow] == [each.id for each in tasks if each.id in known]
    assert sorted(shown) == sorted(known | {*on_path, *waiting})
    assert len({*on_path}) == len(on_path) and len({*waiting}) == len(waiting)
    assert bool(on_path) == bool(tasks)
    assert bool(waiting) == any(each.status not in ENDED for each in tasks)
    assert sum(flow.counts.values()) == len(flow)
    assert all(value is None or value >= 0 for pair in seconds(flow) for value in pair)
    for earlier, later in zip(flow.critical_path, flow.critical_path[1:], strict=False):
        header_id = headers.get(later.task.id)
        is_parent = later.task.parent_id == earlier.task.id
        is_member = header_id is not None and earlier.task.group_id == header_id
        assert is_parent or is_member


@st.composite
def ended_workflows(draw: st.DrawFn) -> list[Task]:
    """Return the tasks of a workflow that was published in order and has ended."""
    tasks: list[Task] = []
    spans = st.integers(0, 50)
    for n in range(draw(st.integers(1, 30))):
        parent = draw(st.sampled_from(tasks)) if tasks else None
        published = 0 if parent is None else _second(parent.started_at) + draw(spans)
        started = published + draw(spans)
        ended = started + draw(spans)
        parent_id = None if parent is None else parent.id
        tasks.append(
            task(
                *(f"t{n}", parent_id),
                published=published,
                started=started,
                ended=ended,
            )
        )
    return tasks


def _second(instant: Any) -> int:
    return int((instant - at(0)).total_seconds())


@given(ended_workflows())
def test_the_seconds_of_a_path_add_up_to_the_time_of_the_workflow(
    tasks: Sequence[Task],
) -> None:
    flow = workflow(*tasks)

    assert flow.scheduled_at is not None and flow.finished_at is not None
    assert flow.critical_path[0].task == tasks[0]
    assert flow.critical_path[-1].task.finished_at == flow.finished_at
    total = sum((wait or 0) + (run or 0) for wait, run in seconds(flow))
    assert total == (flow.finished_at - flow.scheduled_at).total_seconds()
