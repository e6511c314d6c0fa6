"""SQL conditions for the parts of a query.

A field without a value matches nothing, and a negated condition matches it. Therefore
conditions are negated at the leaves, where NULL is replaced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    true,
)
from sqlalchemy.sql.selectable import NamedFromClause
from sqlalchemy.types import Float

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text
from cadasta.workertoolbox.results._query.fields import FIELDS, Kind
from cadasta.workertoolbox.results._query.nodes import (
    And,
    Bound,
    Match,
    Node,
    Not,
    Or,
    Value,
    all_of,
    any_of,
    negated,
)
from cadasta.workertoolbox.results._store.search.json_conditions import has_json_value
from cadasta.workertoolbox.results._store.search.patterns import matches

#: The error of a task as one text, `Type: message`. A result that was cut off is not
#: JSON; it is searched as it is.
_ERRORS = {
    "postgresql": """
coalesce({t}.not_run, (
    SELECT CASE jsonb_typeof(j)
        WHEN 'string' THEN j #>> '{{}}'
        ELSE (j ->> 'exc_type') || ': ' || coalesce(
            CASE jsonb_typeof(j -> 'exc_message') WHEN 'array' THEN (
                SELECT string_agg(part, ', ')
                FROM jsonb_array_elements_text(j -> 'exc_message') AS part
            ) ELSE j ->> 'exc_message' END, '')
    END
    FROM workertoolbox_json({t}.result) AS j
)) COLLATE "C"
""",
    "sqlite": """
coalesce({t}.not_run, (
    SELECT CASE
        WHEN NOT json_valid(j) THEN j
        WHEN json_type(j) = 'text' THEN json_extract(j, '$')
        ELSE json_extract(j, '$.exc_type') || ': ' || coalesce((
            SELECT group_concat(value, ', ') FROM json_each(j, '$.exc_message')
        ), '')
    END
    FROM (SELECT CAST({t}.result AS TEXT) AS j)
))
""",
}

#: Seconds; SQLite computes with days, and knows milliseconds. `greatest` ignores NULL,
#: so that it would give tasks that have not run a time of 0.
_SECONDS = {
    "postgresql": {
        "run": "CASE WHEN {t}.finished_at < {t}.started_at THEN 0 "
        "ELSE date_part('epoch', {t}.finished_at - {t}.started_at) END",
        "wait": "coalesce({t}.waited_s, CASE WHEN coalesce({t}.retries, 0) = 0 THEN "
        "CASE WHEN {t}.started_at < greatest({t}.scheduled_at, {t}.eta) THEN 0 "
        "ELSE date_part('epoch', "
        "{t}.started_at - greatest({t}.scheduled_at, {t}.eta)) END END)",
    },
    "sqlite": {
        "run": "max(0.0, round(86400 * "
        "(julianday({t}.finished_at) - julianday({t}.started_at)), 3))",
        "wait": "coalesce({t}.waited_s, CASE WHEN coalesce({t}.retries, 0) = 0 "
        "THEN max(0.0, round(86400 * (julianday({t}.started_at) - julianday(coalesce("
        "max({t}.scheduled_at, {t}.eta), {t}.scheduled_at, {t}.eta))), 3)) END)",
    },
}


def query_condition(
    node: Node, table: NamedFromClause, dialect: str
) -> ColumnElement[bool]:
    """Return the condition that a row of a table is a task that matches a query.

    Args:
        table: The history, or a view or alias with columns of the same names. Fields
            without a column match nothing.
        dialect: `postgresql` or `sqlite`.
    """
    match node:
        case And(parts):
            return and_(true(), *(query_condition(p, table, dialect) for p in parts))
        case Or(parts):
            return or_(false(), *(query_condition(p, table, dialect) for p in parts))
        case Not(And(parts)):
            return query_condition(any_of(*map(negated, parts)), table, dialect)
        case Not(Or(parts)):
            return query_condition(all_of(*map(negated, parts)), table, dialect)
        case Not(part):
            return not_(func.coalesce(query_condition(part, table, dialect), false()))
        case Bound():
            return _bound(node, table, dialect)
        case Match():
            return _match(node, table, dialect)


def exact_values(node: Node, field: str) -> frozenset[str] | None:
    """Return the only values of a field that tasks can have that match a query.

    None means any value. Values in upper and lower case are different.
    """
    match node:
        case Match(name, values) if name == field:
            literals = [value.literal for value in values]
            found = frozenset(each for each in literals if each is not None)
            return found if None not in literals else None
        case And(parts):
            sets = [exact_values(part, field) for part in parts]
            known = [each for each in sets if each is not None]
            return frozenset.intersection(*known) if known else None
        case Or(parts):
            sets = [exact_values(part, field) for part in parts]
            known = [each for each in sets if each is not None]
            return frozenset().union(*known) if len(known) == len(sets) else None
    return None


def restriction(node: Node, field: str) -> Node | None:
    """Return the condition of a query on one field; all tasks that match meet it.

    None means that the query does not restrict the field.
    """
    match node:
        case Match(name) | Bound(name) if name == field:
            return node
        case And(parts):
            known = [restriction(part, field) for part in parts]
            some = [each for each in known if each is not None]
            return all_of(*some) if some else None
        case Or(parts):
            known = [restriction(part, field) for part in parts]
            some = [each for each in known if each is not None]
            return any_of(*some) if len(some) == len(known) else None
    return None


def least_number(node: Node, field: str) -> float:
    """Return a number that a field is not less than in any task that matches a query.

    It is 0 if the query has no such bound.
    """
    match node:
        case Bound(name, ">" | ">=" | "=", number) if name == field:
            return number
        case And(parts):
            return max((least_number(part, field) for part in parts), default=0.0)
        case Or(parts):
            return min((least_number(part, field) for part in parts), default=0.0)
    return 0.0


def requires(node: Node, fields: Collection[str]) -> bool:
    """Return whether a task has to match a condition on one of these fields."""
    match node:
        case Match(name) | Bound(name):
            return name in fields
        case And(parts):
            return any(requires(part, fields) for part in parts)
        case Or(parts):
            return all(requires(part, fields) for part in parts)
    return False


def _match(node: Match, table: NamedFromClause, dialect: str) -> ColumnElement[bool]:
    field = FIELDS[node.field]
    if field.columns[0] not in table.c:
        return false()
    match field.kind:
        case Kind.JSON:
            return has_json_value(node, table.name, dialect)
        case Kind.PART:
            text = literal_column(_ERRORS[dialect].format(t=table.name), Text)
            found = (_part(func.lower(text), each, dialect) for each in node.values)
            return and_(table.c.status != "SUCCESS", or_(*found))
        case Kind.FLAG:
            wanted = {value.text == "yes" for value in node.values}
            return or_(*(table.c[field.columns[0]].is_(each) for each in wanted))
    column = table.c[field.columns[0]]
    literals = [each.literal for each in node.values]
    exact = [jsonable_text(each) for each in literals if each is not None]
    conditions: list[ColumnElement[bool]] = []
    if exact:
        conditions.append(column == exact[0] if len(exact) == 1 else column.in_(exact))
    conditions += _patterns(column, node.values, dialect)
    return or_(*conditions)


def _patterns(
    column: ColumnElement[str], values: Collection[Value], dialect: str
) -> Iterator[ColumnElement[bool]]:
    for value in values:
        if value.literal is None:
            yield matches(column, value.pieces(), dialect)


def _part(text: ColumnElement[str], value: Value, dialect: str) -> ColumnElement[bool]:
    lower = (
        (each.lower() if each.isascii() else each, w) for each, w in value.pieces()
    )
    return matches(text, [("*", True), *lower, ("*", True)], dialect)


def _bound(node: Bound, table: NamedFromClause, dialect: str) -> ColumnElement[bool]:
    if FIELDS[node.field].columns[0] not in table.c:
        return false()
    if node.field in _SECONDS[dialect]:
        sql = _SECONDS[dialect][node.field].format(t=table.name)
        number: ColumnElement[float] = literal_column(sql, Float)
    else:
        number = table.c[node.field]
    return number.op(node.operator, is_comparison=True)(literal(node.number, Float))
