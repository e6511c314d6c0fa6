"""Texts of queries in links: a term added, and a status chosen."""

from __future__ import annotations

import re
from functools import lru_cache

from cadasta.workertoolbox.results._query.nodes import (
    And,
    Match,
    Node,
    Or,
    Value,
    all_of,
)
from cadasta.workertoolbox.results._query.parser import parse_query
from cadasta.workertoolbox.results._query_errors import InvalidQuery

#: A value that means itself without quotes.
_PLAIN = re.compile(r"\w[\w.@:/+-]*", re.ASCII)


def term(field: str, value: str) -> str:
    """Return the term for tasks whose field has exactly this value."""
    return f"{field}:{quoted_value(value)}"


def quoted_value(value: str) -> str:
    """Return a value as it is written after a field."""
    return str(Value(value, quoted=_PLAIN.fullmatch(value) is None))


# The rows of a page have few different values, and each is added to the same query.
@lru_cache(maxsize=1024)
def with_term(query: str, field: str, value: str) -> str:
    """Return a query that demands one more term, as its user would write it."""
    added = term(field, value)
    node = _parsed(query)
    if node is None or not query.strip():
        return added
    if parse_query(added) in _parts(node):
        return query
    return f"({query.strip()}) {added}" if isinstance(node, Or) else f"{query} {added}"


def with_status(query: str, status: str | None) -> str:
    """Return a query for tasks with a status, instead of the statuses that it names.

    Args:
        status: None for tasks with any status.
    """
    node = _parsed(query)
    if node is None:
        return "" if status is None else term("status", status.lower())
    kept = [each for each in _parts(node) if not _is_status(each)]
    if len(kept) < len(_parts(node)):
        query = str(all_of(*kept))
    return query if status is None else with_term(query, "status", status.lower())


def statuses_of(query: str) -> frozenset[str]:
    """Return the statuses that a query names in a term of its own."""
    node = _parsed(query)
    terms = [each for each in _parts(node) if _is_status(each)] if node else []
    return frozenset(
        value.text.upper()
        for each in terms
        if isinstance(each, Match)
        for value in each.values
    )


def _parsed(query: str) -> Node | None:
    try:
        return parse_query(query)
    except InvalidQuery:
        return None


def _parts(node: Node) -> tuple[Node, ...]:
    return node.parts if isinstance(node, And) else (node,)


def _is_status(node: Node) -> bool:
    return isinstance(node, Match) and node.field == "status"
