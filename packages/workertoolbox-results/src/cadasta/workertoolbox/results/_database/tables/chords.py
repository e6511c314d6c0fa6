"""The tables of chords, which workers write."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, Table, Text

from cadasta.workertoolbox.results._database.tables.table_parts import metadata
from cadasta.workertoolbox.results._database.types import Instant

#: A row per chord. `id` is the id of the group that is the header of the chord.
chord = Table(
    "workertoolbox_chord",
    metadata,
    Column("id", Text, primary_key=True),
    # The encoded results of the header, if it contains groups.
    Column("header", LargeBinary),
    # Number of tasks in the header. It is known when all are published.
    Column("size", Integer),
    # Number of tasks that `add_to_chord` added.
    Column("added", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("starters", Integer, nullable=False),
    # Id of the task whose process starts the body when all are done: the task that was
    # counted last, or has claimed the body. NULL if an earlier release has counted it.
    Column("starter_id", Text),
    Column("started_at", Instant),
    Column("touched_at", Instant, nullable=False),
)

#: A row per finished task of a header, until the body starts; those of a header with a
#: failed task stay as long as the chord. A header may contain the same id twice, at two
#: positions.
chord_part = Table(
    "workertoolbox_chord_part",
    metadata,
    Column("chord_id", Text, primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("result", LargeBinary, nullable=False),
)
