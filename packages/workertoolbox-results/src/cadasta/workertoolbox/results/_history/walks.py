"""Walks through large tables, in steps of a limited number of rows.

A part of the housekeeping that looks for rare rows reads a step of its table each time,
by an index. However large the table is, the time and the locks of a step are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, literal, select, tuple_

from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions


def next_step(
    connection: Connection,
    options: ArchiveOptions,
    order: Sequence[Column[Any]],
    *conditions: ColumnElement[bool],
    size: int,
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return the rows that follow those of the last step.

    After the last rows of a table, the next step begins with the first rows. A step is
    not repeated if its transaction is rolled back, so that a row that cannot be read
    does not stop the walk.

    Args:
        options: Have the position of the walk.
        order: The columns of the rows, by which they are sorted. An index begins with
            them, and the last one is unique.
        size: Maximum number of rows.
    """
    name = " ".join(str(column) for column in order)
    query = select(*order).where(*conditions).order_by(*order).limit(size)
    if (last := options.positions.pop(name, None)) is not None:
        pairs = zip(last, order, strict=True)
        reached = (literal(value, column.type) for value, column in pairs)
        query = query.where(tuple_(*order) > tuple_(*reached))
    rows = connection.execute(query).all()
    options.positions[name] = rows[-1] if len(rows) == size else None
    return rows


def take_steps(
    take_step: Callable[[], bool],
    positions: MutableMapping[str, Sequence[Any] | None],
    *,
    to_end: bool,
) -> None:
    """Take one step of some walks, or all steps.

    A process that ends after one run has to take all steps: a later process begins
    again with the first rows.

    Args:
        take_step: Takes a step of each walk, and returns whether to go on.
        positions: The positions of the walks.
        to_end: Whether to go on until each walk has reached the end once.
    """
    if to_end:
        positions.clear()
    ended: set[str] = set()
    while take_step():
        ended |= {name for name, last in positions.items() if last is None}
        if not to_end or ended == {*positions}:
            return
