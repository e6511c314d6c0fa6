"""Masking of secret arguments."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from messages import message

from cadasta.workertoolbox.results import InvalidRedaction, Redaction, TaskStore
from cadasta.workertoolbox.results._arguments.secret_texts import MASK
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results.backend import Backend


@pytest.mark.parametrize(
    "key",
    ["password", "PASSWORD", "db_password", "token", "api_key", "Authorization"],
)
def test_well_known_names_are_masked_at_any_depth(key: str) -> None:
    args, kwargs = Redaction().redact(
        "export.project", [{"deep": [{key: "s3cret"}]}], {key: "s3cret", "folder": "a"}
    )

    assert args == [{"deep": [{key: MASK}]}]
    assert kwargs == {key: MASK, "folder": "a"}


@pytest.mark.parametrize("key", ["tokens_used", "secretary", "password_length"])
def test_names_that_only_resemble_well_known_names_are_not_masked(key: str) -> None:
    assert Redaction().redact("export.project", [], {key: 7}) == ([], {key: 7})


@pytest.mark.parametrize(
    ("rules", "args", "kwargs"),
    [
        ({"export.project": ["folder"]}, ["a", "b"], {"folder": MASK, "size": 1}),
        ({"export.*": ["fold*"]}, ["a", "b"], {"folder": MASK, "size": 1}),
        ({"*": [1]}, ["a", MASK], {"folder": "x", "size": 1}),
        (
            {"export.*": [0], "*": ["size"]},
            [MASK, "b"],
            {"folder": "x", "size": MASK},
        ),
        ({"msg.*": ["folder", 0]}, ["a", "b"], {"folder": "x", "size": 1}),
        ({"*": lambda args, kwargs: (args[:1], {})}, ["a"], {}),
    ],
)
def test_a_rule_masks_the_arguments_that_it_names_in_matching_tasks(
    rules: dict[str, Any], args: list[str], kwargs: dict[str, Any]
) -> None:
    redaction = Redaction(rules)
    given = ["a", "b"], {"folder": "x", "size": 1}

    assert redaction.redact("export.project", *given) == (args, kwargs)


def test_a_name_masks_an_argument_passed_by_position(app: Celery) -> None:
    @app.task(name="export.login", shared=False)
    def login(user: str, password: str, *, remember: bool) -> None: ...

    shown, _ = Redaction.from_app(app).redact("export.login", ["me", "s3cret"], {})

    assert shown == ["me", MASK]


def test_all_arguments_are_masked_if_a_redaction_function_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    redaction = Redaction({"*": lambda args, kwargs: args[9]})

    assert redaction.redact("export.project", ["s3cret"], {}) == ([MASK], {})
    assert "export.project" in caplog.text
    assert "s3cret" not in caplog.text


def test_the_repr_that_a_publisher_gives_takes_precedence() -> None:
    headers = {"workertoolbox_shown": {"argsrepr": "(…)"}}

    assert Redaction().redact_message("a", ["s3cret"], {"b": 1}, headers) == (
        "(…)",
        {"b": 1},
    )


@pytest.mark.parametrize(
    "rules", [["token"], {"a": "token"}, {"a": [1.5]}, {1: ["token"]}, {"a": None}]
)
def test_an_invalid_rule_is_refused(rules: Any) -> None:
    with pytest.raises(
        InvalidRedaction, match="REDACT=.* is not a valid rule; write"
    ) as caught:
        Redaction(rules)

    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_monitor_does_not_store_secrets() -> None:
    sent = message([["a"], {"token": "s3cret"}, {}])
    record = read_task(sent, seen_at=datetime.now(UTC))

    assert record.kwargs == {"token": MASK}


def test_the_result_backend_does_not_store_secrets(
    app: Celery, url: str, store: TaskStore
) -> None:
    app.conf.REDACT = {"export.*": [0]}
    backend = Backend(app, url.removeprefix("workertoolbox+"))
    request = Context(
        id="1", task="export.project", args=["s3cret", "b"], kwargs={"token": "s3cret"}
    )
    backend.store_result("1", 42, states.SUCCESS, request=request)
    task = store.get("1")

    assert (task.args, task.kwargs) == ([MASK, "b"], {"token": MASK})
