"""What is masked in the arguments of a task, and which values were hidden."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from cadasta.workertoolbox.results._arguments.masking import Masking
from cadasta.workertoolbox.results._arguments.secret_texts import MASK

ID = UUID("7a613ac1-9a4f-4f0b-9a05-4c5d3f2a6f10")


def is_secret(name: str) -> bool:
    return name == "pin"


def mask_arguments(name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Mask by a rule that is easy to tell from the others."""
    return [f"{name} {item}" for item in args or ()], {"called": name, **(kwargs or {})}


def masked(value: Any) -> tuple[Any, list[Any]]:
    """Return a value as it is masked, and the hidden values."""
    hidden: list[Any] = []
    masking = Masking(is_secret, hidden=hidden, mask_arguments=mask_arguments)
    return masking.mask(value), hidden


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 5, 2.5, "", "pin", "a: b", "10:30 a=b", {}, []),
        *({"a": [1, {"b": None}]}, {5: "x"}, [["pin"], ["pin", 1, 2]], [["pin", 1], 5]),
        *([[5, 1]], {"value": 5}, {"value": 5, "name": "a"}, {"value": 5, "name": 7}),
        *(
            '{"a":1,  "b": 2}',
            '["a:b"]',
            '"a:b"',
            "{a: b",
            datetime(2026, 1, 1, tzinfo=UTC),
            ID,
        ),
    ],
)
def test_a_value_without_a_secret_stays(value: Any) -> None:
    assert masked(value) == (value, [])


@pytest.mark.parametrize(
    ("value", "shown", "hidden"),
    [
        ({"pin": 1, "a": 2}, {"pin": MASK, "a": 2}, [1]),
        ({"a": [{"pin": [1]}]}, {"a": [{"pin": MASK}]}, [[1]]),
        ({"a": ({"pin": 1},)}, {"a": [{"pin": MASK}]}, [1]),
        (({5: {"pin": 1}},), [{5: {"pin": MASK}}], [1]),
        (OrderedDict({5: {"pin": 1}}), {5: {"pin": MASK}}, [1]),
        ({"pin": None}, {"pin": MASK}, []),
        ({"pin": MASK}, {"pin": MASK}, []),
        (
            [["pin", 1], ["a", {"pin": 2}]],
            [["pin", MASK], ["a", {"pin": MASK}]],
            [1, 2],
        ),
        ([("pin", 1)], [["pin", MASK]], [1]),
        ({"name": "pin", "value": 1}, {"name": "pin", "value": MASK}, [1]),
        ({"key": "pin", "value": 1}, {"key": "pin", "value": MASK}, [1]),
        (
            {"name": "a", "key": "pin", "value": {"pin": 1}},
            *({"name": "a", "key": "pin", "value": {"pin": MASK}}, [1]),
        ),
        ("pin=1 a=2", f"pin={MASK} a=2", ["1"]),
        ('{"pin": 1, "a": 2}', json.dumps({"pin": MASK, "a": 2}), [1]),
        (' [{"pin": 1}]', json.dumps([{"pin": MASK}]), [1]),
        (json.dumps('{"pin": 1}'), json.dumps(json.dumps({"pin": MASK})), [1]),
        ("{pin: 1, a: 2}", "{pin: " + MASK + ", a: 2}", ["1"]),
    ],
)
def test_secrets_are_masked_and_remembered(
    value: Any, shown: Any, hidden: list[Any]
) -> None:
    assert masked(value) == (shown, hidden)


class Card:
    """An object that Celery encodes, as a type of the service's own."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def __json__(self) -> dict[str, Any]:
        return self.fields


def test_an_object_with_a_secret_is_shown_as_it_is_encoded() -> None:
    plain = Card(a=1)

    assert masked([plain, Card(pin=1)]) == ([plain, {"pin": MASK}], [1])


def test_an_object_that_cannot_be_encoded_stays() -> None:
    value = object()

    assert masked({"a": value}) == ({"a": value}, [])


@pytest.mark.parametrize(
    ("signature", "shown"),
    [
        (
            {"task": "pay", "args": [1], "kwargs": {"a": 2}, "options": {"pin": 3}},
            {
                "task": "pay",
                "args": ["pay 1"],
                "kwargs": {"called": "pay", "a": 2},
                "options": {"pin": MASK},
            },
        ),
        ({"task": "pay", "args": (1,)}, {"task": "pay", "args": ["pay 1"]}),
        (
            {"task": "pay", "kwargs": {"a": 2}},
            {"task": "pay", "kwargs": {"called": "pay", "a": 2}},
        ),
        (
            {
                "task": "pay",
                "args": [1],
                "kwargs": {"a": 2},
                "options": {"argsrepr": "(…)", "kwargsrepr": 5},
            },
            {
                "task": "pay",
                "args": "(…)",
                "kwargs": {"called": "pay", "a": 2},
                "options": {"argsrepr": "(…)", "kwargsrepr": 5},
            },
        ),
        (
            {
                "task": "pay",
                "args": [1],
                "kwargs": {"a": 2},
                "options": {"kwargsrepr": "{…}"},
            },
            {
                "task": "pay",
                "args": ["pay 1"],
                "kwargs": "{…}",
                "options": {"kwargsrepr": "{…}"},
            },
        ),
        ({"task": "pay", "args": 5}, {"task": "pay", "args": 5}),
        ({"task": 5, "args": [1]}, {"task": 5, "args": [1]}),
        ({"args": [1], "kwargs": {}}, {"args": [1], "kwargs": {}}),
    ],
)
def test_the_arguments_of_a_signature_are_masked_by_the_rules_of_its_task(
    signature: Any, shown: Any
) -> None:
    assert masked([signature])[0] == [shown]


CALLED = {"task": "pay", "args": []}


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shown"),
    [
        (
            "celery.map",
            [],
            {"task": CALLED, "it": [1, [2, 3]]},
            ([], {"task": CALLED, "it": ["pay 1", "pay [2, 3]"]}),
        ),
        (
            "celery.starmap",
            [],
            {"task": CALLED, "it": [[1, 2], (3,), 4]},
            ([], {"task": CALLED, "it": [["pay 1", "pay 2"], ["pay 3"], "pay 4"]}),
        ),
        (
            "celery.chunks",
            [CALLED, [[1]], 5, {"pin": 6}],
            {},
            ([CALLED, [["pay 1"]], 5, {"pin": MASK}], {}),
        ),
        (
            "celery.starmap",
            [CALLED],
            {"it": [[1]], "n": {"pin": 1}},
            ([CALLED], {"it": [["pay 1"]], "n": {"pin": MASK}}),
        ),
        (
            "celery.map",
            ["pay", [{"pin": 1}]],
            {},
            (["pay", [{"pin": MASK}]], {}),
        ),
        ("celery.map", [{"pin": 1}], {}, ([{"pin": MASK}], {})),
    ],
)
def test_the_calls_of_a_map_are_masked_by_the_rules_of_its_task(
    name: str, args: list[Any], kwargs: dict[str, Any], shown: Any
) -> None:
    masking = Masking(is_secret, mask_arguments=mask_arguments)

    assert masking.mask_mapping_task(name, args, kwargs) == shown


def test_a_call_whose_arguments_a_rule_removes_is_hidden() -> None:
    hidden: list[Any] = []
    called: list[tuple[Any, ...]] = []

    def remove(*arguments: Any) -> tuple[Any, Any]:
        called.append(arguments)
        return [], {}

    masking = Masking(is_secret, hidden=hidden, mask_arguments=remove)
    items = [[7], {"pin": 8}]
    shown = masking.mask_mapping_task("celery.starmap", [CALLED, items], {})

    assert shown == ([{**CALLED, "args": []}, [[], MASK]], {})
    assert hidden == [{"pin": 8}]
    assert called[:2] == [("pay", [7], {}), ("pay", [{"pin": 8}], {})]


def test_arguments_of_signatures_are_masked_as_values_by_default() -> None:
    signature = {"task": "pay", "args": [{"pin": 1}], "kwargs": {"pin": 2, "a": 3}}

    assert Masking(is_secret).mask(signature) == {
        "task": "pay",
        "args": [{"pin": MASK}],
        "kwargs": {"pin": MASK, "a": 3},
    }
