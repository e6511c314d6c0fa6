"""Functions of the database for JSON, and for what is stored in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import (
    ColumnElement,
    Dialect,
    LargeBinary,
    Text,
    create_engine,
    literal,
    null,
    select,
)
from sqlalchemy.dialects import sqlite

from cadasta.workertoolbox.results._database.json_functions import (
    appended,
    as_json,
    ascii_text,
    json_object,
    last_characters,
    last_item,
    seconds_between,
    text_of,
)
from cadasta.workertoolbox.results._database.types import Instant

DIALECT: Dialect = sqlite.dialect()


def value_of(expression: ColumnElement[Any]) -> Any:
    """Return what the database computes."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        value = connection.scalar(select(expression))
    engine.dispose()
    return value


def text(value: str | None) -> ColumnElement[Any]:
    return literal(value, Text)


@pytest.mark.parametrize(("first", "second"), [(28, 29), (29, 28)])
def test_the_distance_of_two_instants_is_in_seconds(first: int, second: int) -> None:
    instants = (
        literal(datetime(2026, 11, day, 12, tzinfo=UTC), Instant)
        for day in (first, second)
    )
    seconds = value_of(seconds_between(DIALECT, *instants))

    assert seconds == pytest.approx(86400, abs=0.1)


def test_an_object_has_the_values_of_its_keys() -> None:
    values = {"b": text("x"), "a": literal(1), "none": null()}

    assert value_of(json_object(DIALECT, values)) == '{"b":"x","a":1,"none":null}'
    assert value_of(json_object(DIALECT, {})) == "{}"


def test_a_text_in_an_object_is_a_value_if_it_is_read_as_json() -> None:
    array = as_json(DIALECT, text("[1, null]"))

    assert value_of(json_object(DIALECT, {"a": array})) == '{"a":[1,null]}'


@pytest.mark.parametrize(
    ("object", "found"),
    [('{"b": 1, "a": "x"}', "x"), ('{"b": 1}', None), ('{"a": null}', None)],
)
def test_a_value_of_an_object_is_found_by_its_key(
    object: str, found: str | None
) -> None:
    assert value_of(text_of(DIALECT, text(object), "a")) == found


@pytest.mark.parametrize(
    ("array", "found"), [("[1, 2, 3]", 3), ("[]", None), (None, None)]
)
def test_the_last_item_of_an_array(array: str | None, found: int | None) -> None:
    assert value_of(last_item(DIALECT, text(array))) == found


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (None, [9]),
        ("[]", [9]),
        ("[1, 2]", [1, 2, 9]),
        # With one more item it would be over the limit.
        ("[1, 2, 3]", [2, 3, 9]),
        ("[1, 2, 3, 4]", [2, 3, 4, 9]),
    ],
)
def test_an_array_over_its_limit_loses_its_first_item(
    array: str | None, expected: list[int]
) -> None:
    found = value_of(appended(DIALECT, text(array), literal(9), 3))

    assert json.loads(found) == expected


def test_bytes_of_ascii_are_a_text() -> None:
    encoded = literal(rb'{"a": "\u00e9\\"}', LargeBinary)

    assert value_of(ascii_text(DIALECT, encoded)) == r'{"a": "\u00e9\\"}'


@pytest.mark.parametrize(
    ("count", "end"), [(1, "é"), (3, "b é"), (4, "ab é"), (5, "ab é")]
)
def test_the_end_of_a_text(count: int, end: str) -> None:
    assert value_of(last_characters(DIALECT, text("ab é"), count)) == end
