"""The step that holds up a planned one."""

from __future__ import annotations

from celery import chain, chord
from published_workflows import published, workflow_app

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._workflows.predecessors import (
    Predecessors,
    find_holder,
    find_predecessors,
)


def test_a_step_follows_a_task_or_the_header_of_a_chord(store: TaskStore) -> None:
    app = workflow_app()
    names = "abcdef"
    a, b, c, d, e, f = (app.signature(name, task_id=name) for name in names)
    workflow = chain(a, chord([b, chain(c, d)], e), f)
    records = published(app, workflow)
    with store.engine.begin() as connection:
        write_batch(connection, records)
        found = find_predecessors(connection, [*names, "unknown"])

    header_id = found["e"].header_id
    assert header_id is not None
    assert found == {
        "b": Predecessors(["a"]),
        "c": Predecessors(["a"]),
        "d": Predecessors(["c"]),
        "e": Predecessors(["b", "d"], header_id),
        "f": Predecessors(["e"]),
    }


def test_the_body_of_a_chord_is_not_in_its_header(store: TaskStore) -> None:
    app = workflow_app()
    a, b, c = (app.signature(name, task_id=name) for name in "abc")
    with store.engine.begin() as connection:
        write_batch(connection, published(app, chord([a, b], c)))
        found = find_predecessors(connection, ["c"])

    assert found["c"].ids == ["a", "b"]


#: What each task follows in the tests below: `e` is the body of a chord, and `f` is
#: after it.
BEFORE = {
    "f": Predecessors(["e"]),
    "e": Predecessors(["b", "c", "d"], "h"),
    "d": Predecessors(["a"]),
}


def holder(**statuses: str) -> str:
    """Return the path from `f` to the step that holds it up."""
    path = find_holder(
        "f",
        before=lambda id: BEFORE.get(id, Predecessors()),
        statuses=lambda ids: {id: statuses[id] for id in ids if id in statuses},
    )
    return "".join(path)


def test_the_task_of_a_header_that_is_furthest_from_its_end_holds_up_the_body() -> None:
    planned = {"e": "PLANNED"}
    later = ("PROGRESS", "RETRY", "QUEUED", "SCHEDULED", "LOST", "FAILURE")
    for sooner, further in zip(("SUCCESS", *later[:3]), later, strict=False):
        assert holder(**planned, b=sooner, c=further, d=sooner) == "fec"
    assert holder(**planned, b="SCHEDULED", c="FAILURE", d="PLANNED") == "fec"


def test_the_steps_before_a_planned_task_of_a_header_are_searched_too() -> None:
    planned = {"e": "PLANNED", "d": "PLANNED"}

    assert holder(**planned, b="QUEUED", c="STARTED", a="STARTED") == "feda"
    assert holder(**planned, b="QUEUED", c="STARTED", a="SUCCESS") == "feda"


def test_a_path_ends_where_nothing_is_known_and_in_a_circle() -> None:
    assert holder() == "f"
    assert holder(e="PLANNED", b="PLANNED") == "feb"
    circle = {"a": Predecessors(["b"]), "b": Predecessors(["a"])}
    path = find_holder(
        "a",
        before=circle.__getitem__,
        statuses=lambda ids: dict.fromkeys(ids, "PLANNED"),
    )
    assert path == ["a", "b"]
