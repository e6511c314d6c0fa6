from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, chain, chord, group
from kombu.pools import reset

from cadasta.workertoolbox.routing import InvalidID, Routing

ID = UUID("00000000-0000-4000-8000-000000000001")

#: Ids that cannot be stored, with a part of the error.
INVALID = [
    (5, "5 is not a string"),
    (b"five", "is not a string"),
    (True, "is not a string"),
    (["5"], "is not a string"),
    ("a" * 156, "has 156 characters.* shorten it to 155"),
    ("a" * 500, "has 500 characters"),
    ("\N{SNOWMAN}" * 100, "100 characters, 300 bytes"),
    ("a\0b", "NUL"),
    ("a\udcffb", "lone surrogate"),
]


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(
        Routing(["export"], broker_url="memory://", result_backend="cache+memory://")
    )
    with app.connection_for_write() as connection:
        for queue in app.conf.task_queues:
            queue(connection.default_channel).declare()
        received(app)  # what other tests have left
        yield app
    reset()
    app.close()


def received(app: Celery) -> list[Any]:
    with app.connection_for_read() as connection:
        bound = app.amqp.queues["platform.fifo"](connection.default_channel)
        return list(iter(bound.get, None))


@pytest.mark.parametrize("option", ["task_id", "group_id", "root_id", "parent_id"])
@pytest.mark.parametrize(("id", "problem"), INVALID, ids=range(len(INVALID)))
def test_an_id_that_cannot_be_stored_is_refused(
    app: Celery, option: str, id: Any, problem: str
) -> None:
    with pytest.raises(InvalidID, match=f"{option}=.*{problem}"):
        app.send_task("export.project", **{option: id})
    assert received(app) == []


def test_uuids_become_strings(app: Celery) -> None:
    options: dict[str, Any] = {
        name: ID for name in ("task_id", "group_id", "root_id", "parent_id")
    }
    app.send_task("export.project", **options)
    [message] = received(app)

    for header in ("id", "group", "root_id", "parent_id"):
        assert message.headers[header] == str(ID)
    assert message.properties["correlation_id"] == str(ID)


@pytest.mark.parametrize("id", ["a", "a" * 155, "\N{SNOWMAN}" * 85, "with a space\n"])
def test_other_ids_are_kept(app: Celery, id: str) -> None:
    app.send_task("export.project", task_id=id, group_id=id)
    [message] = received(app)

    assert message.headers["id"] == message.headers["group"] == id


def test_empty_ids_of_others_are_left_out(app: Celery) -> None:
    app.send_task("export.project", group_id="", parent_id="")
    [message] = received(app)

    assert message.headers["group"] is message.headers["parent_id"] is None


def test_an_id_among_the_headers_is_checked(app: Celery) -> None:
    with pytest.raises(InvalidID, match="task_id=5"):
        app.send_task("export.project", headers={"id": 5})


@pytest.mark.parametrize("name", ["second", "last", "callback", "member"])
def test_an_id_of_a_later_step_is_refused_at_the_caller(app: Celery, name: str) -> None:
    ids = {name: "a" * 156}

    with pytest.raises(InvalidID, match="task_id"):
        workflow(app, ids).apply_async()
    assert received(app) == []


def test_uuids_of_later_steps_become_strings(app: Celery) -> None:
    workflow(app, {"second": ID}).apply_async()
    [message] = received(app)
    [*_, embedded] = message.decode()

    assert embedded["chain"][-1]["options"]["task_id"] == str(ID)


def workflow(app: Celery, ids: dict[str, Any]) -> Any:
    """Return a workflow in which some steps have these ids."""

    def step(name: str) -> Any:
        options = {"task_id": ids[name]} if name in ids else {}
        return app.signature(f"export.{name}", immutable=True).set(**options)

    second = step("second")
    second.link(step("callback"))
    header = group([step("member"), step("member2")], app=app)
    return chain(
        step("first"), second, chord(header, step("body"), app=app), step("last")
    )
