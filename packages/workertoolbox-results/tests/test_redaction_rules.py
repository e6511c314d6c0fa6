"""Which of the redaction rules apply to a task, and what they hide."""

from __future__ import annotations

from typing import Any

import pytest

from cadasta.workertoolbox.results import InvalidRedaction
from cadasta.workertoolbox.results._arguments.rules import check_rules, select_rules


def cut(args: Any, kwargs: Any) -> Any:
    return args, kwargs


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        (["token"], ["token"]),
        ({1: ["token"]}, {1: ["token"]}),
        ({"a": ["token", 0], "b": "token"}, {"b": "token"}),
        ({"a": b"token"}, {"a": b"token"}),
        ({"a": [-1]}, {"a": [-1]}),
        ({"a": ["token", 1.5]}, {"a": ["token", 1.5]}),
        ({"a": {"token"}}, {"a": {"token"}}),
    ],
)
def test_a_rule_of_another_form_is_named(rules: Any, wrong: Any) -> None:
    with pytest.raises(InvalidRedaction) as caught:
        check_rules("REDACT_RESULTS", rules)

    assert (caught.value.rule, caught.value.setting) == (wrong, "REDACT_RESULTS")


@pytest.mark.parametrize(
    "rules", [{}, {"a": []}, {"a": ("token", 0, "b*")}, {"a": cut, "*": [1]}]
)
def test_names_positions_and_functions_are_rules(rules: Any) -> None:
    check_rules("REDACT", rules)


def test_the_rules_of_all_patterns_that_match_apply() -> None:
    rules = {"export.*": ["folder", 4], "*": ["si?e", 1], "export": [5], "e*": cut}
    selected = select_rules({**rules, "b": check_rules}, "export.fetch")

    assert selected.is_named is not None
    named = [name for name in ("Folder", "size", "sie", "a") if selected.is_named(name)]
    assert named == ["Folder", "size"]
    assert selected.positions == {1, 4}
    assert selected.redactors == (cut,)


def test_without_names_in_rules_only_known_names_are_secret() -> None:
    selected = select_rules({"*": [0]}, "export.fetch")

    assert selected.is_named is None
    assert selected.is_secret("password") and not selected.is_secret("folder")


def test_names_in_rules_are_secret_besides_known_names() -> None:
    is_secret = select_rules({"*": ["folder"]}, "export.fetch").is_secret

    secret = [name for name in ("password", "folder", "size") if is_secret(name)]
    assert secret == ["password", "folder"]


@pytest.mark.parametrize(
    ("parameters", "positions", "rest_from", "keywords"),
    [
        ((), set(), None, None),
        (("user", "password", "size"), {1}, None, None),
        (("user", "*", "password"), set(), None, None),
        (("user", "*names", "password"), set(), None, None),
        (("user", "password", "*token"), {1}, 2, None),
        (("user", "*tokens"), set(), 1, None),
        (("*tokens", "user"), set(), 0, None),
        (("user", "**options"), set(), None, None),
        (("pin", "**credentials"), set(), None, {"pin", "**credentials"}),
        (
            ("*tokens", "user", "**secret"),
            *(set(), 0, {"*tokens", "user", "**secret"}),
        ),
    ],
)
def test_the_names_of_parameters_say_which_arguments_are_secret(
    parameters: tuple[str, ...],
    positions: set[int],
    rest_from: int | None,
    keywords: set[str] | None,
) -> None:
    selected = select_rules({}, "export.fetch", parameters)

    assert selected.positions == positions
    assert selected.rest_from == rest_from
    assert selected.parameters == keywords


def test_a_name_in_a_rule_hides_what_a_star_of_this_name_takes() -> None:
    selected = select_rules({"*": ["part"]}, "export.fetch", ("a", "*parts", "**part"))

    assert [selected.hides_position(each) for each in range(4)] == [
        *(False, True, True, True),
    ]
    assert not selected.hides_keyword("a")
    assert selected.hides_keyword("b")


def test_only_listed_positions_are_hidden_without_a_secret_star() -> None:
    selected = select_rules({"*": [1]}, "export.fetch", ("a", "*"))

    assert [selected.hides_position(each) for each in range(3)] == [False, True, False]
    assert not selected.hides_keyword("b")


@pytest.mark.parametrize(
    ("rules", "parameters", "expected"),
    [
        ({}, (), False),
        ({"*": ["folder"]}, ("a", "**credentials"), False),
        ({"*": [0]}, (), True),
        ({"*": cut}, (), True),
        ({}, ("*tokens",), True),
    ],
)
def test_rules_by_position_need_valid_arguments(
    rules: Any, parameters: tuple[str, ...], expected: bool
) -> None:
    assert select_rules(rules, "export.fetch", parameters).by_position is expected
