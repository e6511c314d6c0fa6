"""Whether the stored arguments of a task are those that it had."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from messages import message
from sqlalchemy import select

from cadasta.workertoolbox.results import Redaction, TaskStore
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._headers import DISPLAY_REPRS, RERUN
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.call_options import MAX_NEXT_BYTES
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.stored_arguments import digest
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

NOW = datetime(2026, 6, 1, tzinfo=UTC)

#: A step of a chain, as Celery writes it.
STEP: dict[str, Any] = {
    "task": "export.send",
    "args": [],
    "kwargs": {"to": "a"},
    "options": {"task_id": "2"},
}


def read(args: Any = (), kwargs: Any = None, **headers: Any) -> TaskRecord:
    return read_with(Redaction(), args, kwargs, **headers)


def read_with(
    redaction: Redaction, args: Any, kwargs: Any = None, **headers: Any
) -> TaskRecord:
    body = json.dumps([args, kwargs or {}, {}])
    return read_task(
        message(body, **headers), seen_at=NOW, redaction=redaction, max_bytes=2000
    )


def follow(**embedded: Any) -> dict[str, Any]:
    """Return the options of a message that is followed by further steps."""
    record = read_task(message([[], {}, embedded]), seen_at=NOW)
    assert record.options is not None
    return record.options


def reverse(args: list[Any], kwargs: dict[str, Any]) -> Any:
    args[0].reverse()  # In place, and without hiding anything.
    return args, kwargs


@pytest.mark.parametrize(
    "args",
    [
        [],
        [1, True, None, 1.5, -2, 1e-7, "e+16 -0.0", 2**70, {"a": [{}]}],
        # As kombu encodes an instant, a UUID, a decimal number and bytes.
        [{"__type__": "datetime", "__value__": "2026-06-01T00:00:00"}],
        [{"__type__": "uuid", "__value__": {"hex": "0" * 32, "version": 4}}],
        [{"__type__": "decimal", "__value__": "1.50"}],
        [{"__type__": "bytes", "__value__": "AA=="}],
    ],
)
def test_arguments_that_are_stored_unchanged_are_whole(args: list[Any]) -> None:
    record = read(args, {"b": args})

    assert record.arguments == "whole"
    assert record.digest == digest(record.args, record.kwargs, None)
    assert json.dumps([record.args, record.kwargs]) == json.dumps([args, {"b": args}])


@pytest.mark.parametrize(
    ("args", "form"),
    [
        (["x" * 3000], "truncated"),
        ([float("nan")], "converted"),
        (["a\0b"], "converted"),
        (["\ud800"], "converted"),
        ([{"a": [1e16]}], "converted"),
        ([-0.0], "converted"),
        (["password=hunter2hunter2"], "redacted"),
    ],
)
def test_other_arguments_say_why_they_are_not_whole(args: Any, form: str) -> None:
    record = read(args)

    assert (record.arguments, record.digest) == (form, None)


def test_a_secret_and_a_function_of_redact_make_arguments_redacted() -> None:
    renamed = Redaction({"export.*": lambda args, kwargs: ([*args, 1], kwargs)})
    lossy = Redaction({"export.*": lambda args, kwargs: ([1.0], kwargs)})
    reversing = Redaction({"export.*": reverse})
    strange = Redaction({"export.*": lambda args, kwargs: ([NOW], kwargs)})

    assert read([], {"token": None}).arguments == "redacted"
    assert read([], {"token": "t"}).arguments == "redacted"
    assert read_with(renamed, []).arguments == "redacted"
    assert read_with(lossy, [1]).arguments == "redacted"
    assert read_with(lossy, [1.0]).arguments == "whole"
    assert read_with(reversing, [[1, 2]]).arguments == "redacted"
    assert read_with(strange, [1]).arguments == "redacted"


@pytest.mark.parametrize("name", ["argsrepr", "kwargsrepr"])
def test_a_text_that_is_shown_instead_of_arguments_is_no_argument(name: str) -> None:
    assert read(workertoolbox_shown={name: "(1, 2)"}).arguments == "repr"


def test_a_message_without_further_options_has_none() -> None:
    assert read(timelimit=[None, None], shadow=None, stamps={}).options is None


def test_options_stamps_and_mapped_tasks_are_stored() -> None:
    inner = {"task": "export.project", "args": [], "kwargs": {}}
    mapped = message([[inner, [[1]]], {}, {}], task="celery.starmap")
    urgent: Any = message(timelimit=[30, 20.5], shadow="nightly", stamps={"tenant": 1})
    urgent.properties["priority"] = 7
    record = read_task(mapped, seen_at=NOW)

    assert (record.name, record.options) == (
        "export.project",
        {"task": "celery.starmap"},
    )
    assert read_task(urgent, seen_at=NOW).options == {
        "priority": 7,
        "time_limits": [30, 20.5],
        "shadow": "nightly",
        "stamps": ["tenant"],
    }


@pytest.mark.parametrize(
    "headers", [{"note": "x" * 5000}, {"token": "t"}, {"at": NOW}, {"ratio": 1e16}]
)
def test_headers_that_are_not_stored_whole_are_marked(headers: Any) -> None:
    assert read(**headers).options == {"headers": "redacted"}
    assert read(note="x", order={"id": 1}).options is None


def test_the_steps_after_a_task_are_stored_unless_something_is_hidden() -> None:
    secret = {**STEP, "kwargs": {"token": "t"}}
    large = {**STEP, "args": ["x" * MAX_NEXT_BYTES]}
    nan = {**STEP, "args": [float("nan")]}

    assert follow(chain=[STEP], callbacks=None) == {
        "follows": ["chain"],
        "next": {"chain": [STEP]},
    }
    assert follow(chord=secret) == {"follows": ["chord"], "next_form": "redacted"}
    assert follow(chain=[large])["next_form"] == "truncated"
    assert follow(chain=[nan])["next_form"] == "converted"


def test_a_secret_of_the_task_is_not_stored_in_the_steps_after_it() -> None:
    step = {**STEP, "args": ["hunter2hunter2"]}
    body = [[], {"token": "hunter2hunter2"}, {"chain": [step]}]
    options = read_task(message(body), seen_at=NOW).options

    assert options == {"follows": ["chain"], "next_form": "redacted"}


@pytest.mark.parametrize(
    "step",
    [
        {**STEP, "options": {"task_id": "2", "kwargsrepr": "***"}},
        {**STEP, "options": {"headers": {DISPLAY_REPRS: {"argsrepr": "***"}}}},
        {**STEP, "args": ["hunter2"], "immutable": False},
        {"task": "celery.chord", "kwargs": {"header": [], "body": {**STEP, "args": []}}}
        | {"options": {"link": [{**STEP, "options": {"argsrepr": "()"}}]}},
    ],
)
def test_steps_with_arguments_that_their_own_messages_hide_are_not_stored(
    step: dict[str, Any],
) -> None:
    redaction = Redaction(parameter_names=lambda name: ("result", "password"))
    body = [[], {}, {"chain": [step]}]
    options = read_task(message(body), seen_at=NOW, redaction=redaction).options

    assert options == {"follows": ["chain"], "next_form": "redacted"}


def test_steps_whose_results_are_not_secret_are_stored() -> None:
    redaction = Redaction(parameter_names=lambda name: ("result", "password", "to"))
    steps = [
        {**STEP, "args": ["a"], "immutable": True},
        {**STEP, "args": [], "immutable": False},
    ]
    body = [[], {}, {"chain": steps}]
    options = read_task(message(body), seen_at=NOW, redaction=redaction).options

    assert options == {"follows": ["chain"], "next": {"chain": steps}}


@pytest.mark.parametrize("values", [{"kwargs": 5}, {"kwargs": [1]}, {"args": [5]}])
def test_malformed_steps_do_not_keep_a_task_from_being_stored(values: Any) -> None:
    options = follow(chain=[{**STEP, **values}])

    assert options["follows"] == ["chain"]


def test_a_secret_in_the_name_for_logs_is_masked() -> None:
    secret = {"token": "hunter2hunter2"}
    masked = read([], secret, shadow="login hunter2hunter2").options
    hidden = read([], {}, shadow="login 1", **{DISPLAY_REPRS: {"argsrepr": "x"}})

    assert masked == {"shadow": "login ********"}
    assert hidden.options is None


def test_steps_that_are_nested_deep_are_not_stored() -> None:
    found = set()
    for depth in range(800, sys.getrecursionlimit()):
        nested = "[" * depth + "]" * depth
        try:
            read = read_task(message(f'[[],{{}},{{"chain":{nested}}}]'), seen_at=NOW)
        except UnreadableMessage:
            break
        found.add((read.options or {}).get("next_form"))

    assert found == {"converted"}


def test_only_the_header_of_its_own_message_makes_a_task_a_rerun() -> None:
    own = {"of": "0", "id": "1", "operation": "o"}

    assert read(**{RERUN: own}).rerun_of == "0"
    assert read(**{RERUN: {**own, "id": "another"}}).rerun_of is None
    assert read(**{RERUN: "0"}).rerun_of is None


@pytest.mark.parametrize(
    ("state", "result"), [("SUCCESS", 42), ("FAILURE", ValueError("x"))]
)
def test_the_history_keeps_what_a_rerun_needs(
    store: TaskStore, backend: Backend, state: str, result: Any
) -> None:
    rerun: dict[str, Any] = {RERUN: {"of": "0", "id": "1", "operation": "o"}}
    body = [[1], {}, {"chain": [STEP]}]
    record = read_task(message(body, shadow="s", **rerun), seen_at=NOW)
    with store.engine.begin() as connection:
        write_batch(connection, [record, record])
    live = store.get("1")
    backend.store_result("1", result, state)
    with store.engine.begin() as connection:
        archive_batch(connection, ArchiveOptions(delay_s=0))
        options = connection.scalar(
            select(history.c.options).where(history.c.id == "1")
        )
    archived = store.get("1")

    assert (live.rerun_of, live.arguments) == ("0", "whole")
    assert (archived.rerun_of, archived.arguments) == ("0", "whole")
    assert archived.as_json()["rerun_of"] == "0"
    # A success has published them.
    steps = {} if state == "SUCCESS" else {"next": {"chain": [STEP]}}
    assert options == {"shadow": "s", "follows": ["chain"], **steps}
    assert [each.id for each in store.search("rerun_of:0").tasks] == ["1"]
