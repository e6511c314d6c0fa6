"""The query language: texts, values, and errors with a column."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cadasta.workertoolbox.results import InvalidQuery
from cadasta.workertoolbox.results._query.fields import FIELDS, Kind
from cadasta.workertoolbox.results._query.nodes import (
    EVERYTHING,
    Bound,
    Match,
    Node,
    Value,
    all_of,
    any_of,
    negated,
)
from cadasta.workertoolbox.results._query.parser import MAX_DEPTH, parse_query

UUID = "12345678-1234-1234-1234-123456789abc"


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ("", ""),
        ("name:export.* status:failure,Lost", "name:export.* status:FAILURE,LOST"),
        ("a OR b AND c", "name:*a* OR name:*b* name:*c*"),
        ("NOT (a OR b) -c", "-(name:*a* OR name:*b*) -name:*c*"),
        ("- -a ((b))", "name:*a* name:*b*"),
        ('args."my key".0:"x y",2', 'args."my key".0:"x y",2'),
        ("run:>10s wait:>=1.5m retries:=2", "run:>10s wait:>=90s retries:2"),
        ("tracked:False", "tracked:no"),
        (UUID, f"id:{UUID}"),
        ("export.?etch", "name:export.?etch"),
        (r'"connection refused" a\*b', r"name:*connection\ refused* name:*a\*b*"),
        ("args.url:http://x:1/", "args.url:http://x:1/"),
        ("stamp.tenant:acme", "stamp.tenant:acme"),
        ("status:uploading", 'status:"uploading"'),
        ('status:"failure","LOST"', 'status:"failure",LOST'),
    ],
)
def test_equal_queries_have_the_same_text(text: str, usual: str) -> None:
    query = parse_query(text)

    assert str(query) == usual
    assert parse_query(usual) == query


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("a status:", 10, "the query ends too early; write a value directly after s"),
        ("stauts:failure", 1, "no field is called 'stauts'; did you mean status:?"),
        ("root_id:1", 1, "did you mean root:?"),
        ("xyzzy:1", 1, "fields are id, name, status"),
        (":1", 1, "no field is called ''"),
        ("a (b", 3, "this parenthesis is never closed"),
        ("a b)", 4, "this parenthesis is never opened"),
        ('name:"a b', 6, "this quote is never closed"),
        ('name:"a"b', 9, "put a space before this"),
        ('a"b"', 2, "put a space before this"),
        ("a or b", 3, "write OR in capitals"),
        ("a OR", 5, "the query ends too early; write a term"),
        ("name:a, b", 8, "write a value directly after name: instead of"),
        ("a,b", 1, "a list needs a field"),
        ("run:>x", 6, "write a number and a unit"),
        ("run:>1e30s", 6, "write a number and a unit"),
        ("run:>99999999999d", 6, "is too large"),
        ("retries:1.5", 9, "write a whole number"),
        ("retries:1,2", 9, "takes one value; join several with OR"),
        ("queue:>5", 7, "queue has no order"),
        ("tracked:maybe", 9, "write yes or no"),
        ("status:fail*", 8, "write whole statuses"),
        ("args:5", 1, "write args.KEY:value instead of args:"),
        ("name.x:5", 1, "write name:value instead of name.x:"),
        ("(" * (MAX_DEPTH + 1), MAX_DEPTH + 1, "nested deeper than 20 levels"),
        ("a " * 501, 1001, "more than 500 values"),
        (f"a args{'.x' * 51}:5", 3, "the path has more than 50 keys"),
        ("a" * 20_000, 16_385, "longer than 16384 characters"),
    ],
)
def test_an_error_names_the_column(text: str, column: int, reason: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse_query(text)

    assert str(caught.value).startswith(f"column {column} of the query: ")
    assert reason in str(caught.value)


def test_a_caret_points_at_the_column() -> None:
    error = InvalidQuery("a\nstauts:b", 2)
    long = InvalidQuery("x" * 1000, 900)

    assert error.marked == "a stauts:b\n  ^"
    [line, caret] = long.marked.split("\n")
    assert len(line) == 120
    assert len(caret) <= 120


texts = st.text(max_size=8)
patterns = st.from_regex(r"[a-z.]{0,3}[*?a-z][a-z*?.:/]{0,3}", fullmatch=True)


def values(kind: Kind) -> st.SearchStrategy[tuple[Value, ...]]:
    if kind is Kind.STATUS:
        one = st.sampled_from(["FAILURE", "LOST", "QUEUED"]).map(Value)
    elif kind is Kind.FLAG:
        one = st.sampled_from(["yes", "no"]).map(Value)
    else:
        quoted = texts.map(lambda text: Value(text, quoted=True))
        containing = texts.map(Value.containing)
        one = quoted | containing | patterns.map(Value)
    return st.lists(one, min_size=1, max_size=3).map(tuple)


def conditions() -> st.SearchStrategy[Node]:
    found: list[st.SearchStrategy[Node]] = []
    for name, field in FIELDS.items():
        if field.kind in (Kind.NUMBER, Kind.DURATION):
            operator = st.sampled_from([">", ">=", "<", "<=", "="])
            number: st.SearchStrategy[float] = st.integers(0, 1000).map(float)
            if field.kind is Kind.DURATION:
                number |= st.floats(0, 1e6)
            found.append(st.builds(Bound, st.just(name), operator, number))
            continue
        path = st.lists(texts.filter(bool), min_size=1, max_size=3).map(tuple)
        found.append(
            st.builds(
                Match,
                st.just(name),
                values(field.kind),
                path if field.has_path else st.just(()),
            )
        )
    return st.one_of(found)


queries: st.SearchStrategy[Node] = st.just(EVERYTHING) | st.recursive(
    conditions(),
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: all_of(*parts))
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: any_of(*parts))
        | inner.map(negated)
    ),
    max_leaves=8,
)


@given(queries)
def test_the_text_of_a_query_is_parsed_as_the_same_query(query: Node) -> None:
    assert parse_query(str(query)) == query


WORDS = [
    *(
        '"',
        "\\",
        "(",
        ")",
        "-",
        ",",
        ":",
        " ",
        "*",
        "\n",
        ">",
        "=",
        ".",
        "\0",
        "\ud800",
    ),
    *("AND ", "OR ", "NOT ", "name:", "args.", "run:", "retries:", "status:", "10s"),
]


@example(">*")
@example("<=a?")
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=20).map("".join))
def test_any_text_is_a_query_or_an_invalid_query(text: str) -> None:
    try:
        query = parse_query(text)
    except InvalidQuery as error:
        assert 0 <= error.column <= len(text)
        assert len(error.marked.split("\n")) == 2
    else:
        assert parse_query(str(query)) == query
