"""Queries in links: a term is added, a status is chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadasta.workertoolbox.results._query.nodes import Match
from cadasta.workertoolbox.results._query.parser import parse_query
from cadasta.workertoolbox.results.web.searching.terms import (
    statuses_of,
    term,
    with_status,
    with_term,
)


@given(st.text(max_size=30))
def test_a_term_matches_exactly_its_value(value: str) -> None:
    node = parse_query(term("queue", value))

    assert isinstance(node, Match)
    assert [each.literal for each in node.values] == [value]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "queue:export"),
        ("status:failure", "status:failure queue:export"),
        ("a OR b", "(a OR b) queue:export"),
        ("queue:export status:failure", "queue:export status:failure"),
        ("queue:", "queue:export"),
    ],
)
def test_a_term_is_added_once(query: str, expected: str) -> None:
    assert with_term(query, "queue", "export") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "status:lost"),
        ("name:a status:failure,retry", "name:a status:lost"),
        ("status:failure", "status:lost"),
        ("status:failure OR name:a", "(status:failure OR name:a) status:lost"),
    ],
)
def test_a_status_replaces_the_ones_in_the_query(query: str, expected: str) -> None:
    assert with_status(query, "LOST") == expected


def test_no_status_takes_the_term_away() -> None:
    assert with_status("name:a status:failure", None) == "name:a"
    assert with_status("status:failure", None) == ""
    assert with_status("a  b", None) == "a  b"


def test_the_statuses_of_a_query_are_those_of_its_terms() -> None:
    assert statuses_of("name:a status:failure,lost") == {"FAILURE", "LOST"}
    assert statuses_of("name:a -status:failure") == frozenset()
    assert statuses_of("status:") == frozenset()
