"""What is redacted in messages, results, errors and tracebacks, and what is told."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, states

from cadasta.workertoolbox.results import Redaction
from cadasta.workertoolbox.results._arguments import redaction as redaction_module
from cadasta.workertoolbox.results._arguments.known_secrets import KnownSecrets
from cadasta.workertoolbox.results._arguments.secret_texts import MASK

NOTHING_KNOWN = KnownSecrets()


def test_a_secret_is_masked_where_it_appears_again_and_is_told() -> None:
    hidden: list[Any] = ["before"]
    shown = Redaction().redact(
        "export.fetch", ["with s3cret!", 5], {"token": "s3cret"}, hidden=hidden
    )

    assert shown == ([f"with {MASK}!", 5], {"token": MASK})
    assert hidden == ["before", "s3cret"]


def test_arguments_may_be_missing() -> None:
    assert Redaction().redact("export.fetch", None, None) == ([], {})


def test_the_values_that_a_function_removes_are_told() -> None:
    redaction = Redaction({"*": lambda args, kwargs: (args[:1], {**kwargs, "b": "x"})})
    hidden: list[Any] = []
    shown = redaction.redact(
        "export.fetch", ["first", "second"], {"a": "first", "b": 2}, hidden=hidden
    )

    assert shown == (["first"], {"a": "first", "b": "x"})
    assert hidden == ["second", 2]


def test_functions_are_called_one_after_the_other_with_the_name_of_the_task() -> None:
    redaction = Redaction(
        {
            "export.*": lambda args, kwargs: ([*args, "one"], kwargs),
            "*": lambda args, kwargs: ([*args, "two"], {"all": args}),
            "b": lambda args, kwargs: ([], {}),
        }
    )

    assert redaction.redact("export.fetch", [], {}) == (
        *(["one", "two"], {"all": ["one"]}),
    )


def test_the_rules_of_a_map_are_those_of_the_task_that_it_calls() -> None:
    redaction = Redaction({"pay": [0]})
    called = {"task": "pay", "args": [], "kwargs": {}}
    shown = redaction.redact("celery.map", [called, ["4711-0815", "a"]], {})

    assert shown == ([called, [MASK, MASK]], {})


@pytest.mark.parametrize(
    ("texts", "shown", "unshown"),
    [
        (None, (["a", {"b": 5}], {"c": "x"}), []),
        ("(…)", (["a", {"b": 5}], {"c": "x"}), []),
        ({"argsrepr": "('a', …)"}, ("('a', …)", {"c": "x"}), [5]),
        ({"kwargsrepr": "{…}"}, (["a", {"b": 5}], "{…}"), ["x"]),
        ({"argsrepr": 5, "kwargsrepr": None}, (["a", {"b": 5}], {"c": "x"}), []),
    ],
)
def test_texts_of_the_publisher_are_stored_instead_and_what_they_leave_out_is_told(
    texts: Any, shown: Any, unshown: list[Any]
) -> None:
    told: list[Any] = []
    headers = {} if texts is None else {"workertoolbox_shown": texts}
    args, kwargs = ["a", {"b": 5}], {"c": "x"}
    given = ("export.fetch", args, kwargs, headers)

    assert Redaction().redact_message(*given) == shown
    assert Redaction().redact_message(*given, unshown=told) == shown
    assert told == unshown


def test_what_is_hidden_in_a_message_is_told() -> None:
    hidden: list[Any] = []
    redaction = Redaction({"export.fetch": [0]})
    redaction.redact_message("export.fetch", ["4711"], {"pin": 1}, {}, hidden=hidden)

    assert hidden == ["4711"]


RESULT_RULES: dict[str, Any] = {"export.fetch": ["folder", 1]}


@pytest.mark.parametrize(
    ("status", "result", "shown"),
    [
        (states.SUCCESS, 5, 5),
        (states.SUCCESS, {"folder": 1, "token": 2}, {"folder": MASK, "token": 2}),
        (states.SUCCESS, ["a", "b", {"folder": 1}], ["a", MASK, {"folder": MASK}]),
        (states.SUCCESS, {"exc_message": ["a", "b"]}, {"exc_message": ["a", "b"]}),
        (
            states.FAILURE,
            {"exc_type": "E", "exc_message": ["a", "b", {"token": 1}]},
            {"exc_type": "E", "exc_message": ["a", MASK, {"token": MASK}]},
        ),
        (
            states.RETRY,
            {"exc_type": "E", "exc_message": "token=abc"},
            {"exc_type": "E", "exc_message": f"token={MASK}"},
        ),
        (states.FAILURE, {"folder": 1}, {"folder": MASK}),
    ],
)
def test_rules_for_results_mask_keys_positions_and_texts_of_errors(
    status: str, result: Any, shown: Any
) -> None:
    redaction = Redaction(result_rules=RESULT_RULES)

    assert shown == redaction.redact_result(
        "export.fetch", result, status=status, secrets=NOTHING_KNOWN
    )


@pytest.mark.parametrize(
    ("status", "result", "shown"),
    [
        (states.SUCCESS, "Map", "export.fetch:map"),
        (states.SUCCESS, {"a": 1}, "export.fetch:{'a': 1}"),
        (
            states.FAILURE,
            {"exc_message": ["No", 5]},
            {"exc_message": ["export.fetch:no", 5]},
        ),
        (states.FAILURE, {"exc_message": "No"}, {"exc_message": "export.fetch:no"}),
    ],
)
def test_functions_for_results_get_the_result_or_each_text_of_an_error(
    status: str, result: Any, shown: Any
) -> None:
    redaction = Redaction(
        result_rules={
            "export.fetch": lambda value: str(value).lower(),
            "*": lambda value: f"export.fetch:{value}",
        }
    )

    assert shown == redaction.redact_result(
        "export.fetch", result, status=status, secrets=NOTHING_KNOWN
    )


@pytest.mark.parametrize(
    ("rules", "shown"),
    [
        ({}, ["a", {"folder": 1, "token": 2}]),
        ({"*": ["folder"]}, ["a", {"folder": MASK, "token": 2}]),
        ({"*": [0]}, [MASK, {"folder": 1, "token": 2}]),
    ],
)
def test_a_result_may_have_rules_for_names_or_for_positions_alone(
    rules: Any, shown: Any
) -> None:
    given = ["a", {"folder": 1, "token": 2}]

    assert shown == Redaction(result_rules=rules).redact_result(
        "a", given, status=states.SUCCESS, secrets=NOTHING_KNOWN
    )


@pytest.mark.parametrize(
    ("status", "result", "shown"),
    [
        (states.SUCCESS, 5, MASK),
        (states.FAILURE, {"exc_message": ["no"]}, {"exc_message": [MASK]}),
        (states.FAILURE, {"exc_message": "no"}, {"exc_message": MASK}),
    ],
)
def test_a_function_for_results_that_fails_is_logged_with_the_name_of_the_task(
    caplog: pytest.LogCaptureFixture, status: str, result: Any, shown: Any
) -> None:
    redaction = Redaction(result_rules={"*": lambda value: value.missing})
    masked = redaction.redact_result(
        "export.fetch", result, status=status, secrets=NOTHING_KNOWN
    )
    redaction.redact_traceback("export.fetch", "no", secrets=NOTHING_KNOWN)
    begin = "REDACT_RESULTS function of task export.fetch failed with AttributeError"

    assert masked == shown
    assert [message.startswith(begin) for message in caplog.messages] == [True] * 2


@pytest.mark.parametrize("status", [states.SUCCESS, states.FAILURE])
def test_secrets_of_the_arguments_are_masked_in_results_and_errors(status: str) -> None:
    secrets = KnownSecrets.of(["s3cret"])
    given = {"exc_message": ["at s3cret"], "url": "s3cret"}
    shown = Redaction().redact_result("a", given, status=status, secrets=secrets)

    assert shown == {"exc_message": [f"at {MASK}"], "url": MASK}


def test_the_text_of_a_traceback_is_redacted() -> None:
    redaction = Redaction(
        result_rules={"export.*": ["folder"], "*": lambda text: f"{text}."}
    )
    shown = redaction.redact_traceback(
        "export.fetch",
        "folder=a token=b size=c s3cret",
        secrets=KnownSecrets.of(["s3cret"]),
    )

    assert shown == f"folder={MASK} token={MASK} size=c {MASK}."


@pytest.mark.parametrize(
    ("redaction", "functions", "results"),
    [
        (Redaction(), False, False),
        (Redaction({"a": ["b"]}, result_rules={"a": ["b"]}), False, True),
        (Redaction({"a": ["b"], "c": lambda args, kwargs: (args, {})}), True, False),
    ],
)
def test_a_redaction_says_which_rules_it_has(
    redaction: Redaction, functions: bool, results: bool
) -> None:
    assert redaction.has_functions is functions
    assert redaction.has_result_rules is results


def test_the_rules_of_a_limited_number_of_names_are_cached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redaction_module, "MAX_CACHED_TASKS", 2)
    asked: list[str] = []

    def parameters(name: str) -> list[str]:
        asked.append(name)
        return [name]

    redaction = Redaction({"*": ["c"]}, parameters, {"c": [7]})
    for _ in range(2):
        found = {name: redaction.rules_of(name).positions for name in "abc"}
        results = {name: redaction.result_rules_of(name).positions for name in "abc"}

        assert found == {"a": set(), "b": set(), "c": {0}}
        assert results == {"a": set(), "b": set(), "c": {7}}
    assert asked == ["a", "b", "c", "c"]
    assert redaction.result_rules_of("a") is redaction.result_rules_of("a")
    assert redaction.result_rules_of("c") is not redaction.result_rules_of("c")


def test_the_rules_of_an_app_know_the_parameters_of_its_tasks(app: Celery) -> None:
    app.conf.update(REDACT={"export.*": ["c*"]}, REDACT_RESULTS={"*": ["d"]})

    @app.task(name="export.fetch", shared=False)
    def fetch(a: int, *rest: int, c: int = 1, **more: int) -> None: ...

    @app.task(name="export.open", shared=False)
    def open_(a: int, *, c: int = 1, d: int = 2) -> None: ...

    redaction = Redaction.from_app(app)

    assert [*redaction.parameter_names("export.fetch")] == ["a", "*rest", "c", "**more"]
    assert [*redaction.parameter_names("export.open")] == ["a", "*", "c", "d"]
    assert [*redaction.parameter_names("unknown")] == []
    assert (redaction.rules, redaction.result_rules) == (
        *({"export.*": ["c*"]}, {"*": ["d"]}),
    )
