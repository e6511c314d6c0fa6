"""The table of the entries of beat's schedule, which monitors write."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Table, Text

from cadasta.workertoolbox.results._database.tables.table_parts import metadata
from cadasta.workertoolbox.results._database.types import Document, Instant

#: A row per entry of beat's schedule, and service: what the messages of its runs say.
schedule = Table(
    "workertoolbox_schedule",
    metadata,
    # The name of beat's app, or an empty text.
    Column("service", Text, primary_key=True),
    Column("entry", Text, primary_key=True),
    # The task, the schedule as text, its next run, and the longest time for which beat
    # sleeps; and when a message said so.
    Column("name", Text),
    Column("schedule", Text),
    Column("timezone", Text),
    Column("next_at", Instant),
    Column("max_interval_s", Float),
    Column("described_at", Instant),
    # The last run that was sent, and the process of beat that has sent it.
    Column("task_id", Text),
    Column("due_at", Instant),
    Column("sent_at", Instant),
    Column("late_s", Float),
    Column("origin", Text),
    Column("started_at", Instant),
    # Numbers of all runs since `first_at`, and when the last one was sent.
    Column("count", BigInteger, nullable=False),
    Column("missed", BigInteger, nullable=False),
    Column("doubled", BigInteger, nullable=False),
    Column("missed_at", Instant),
    Column("doubled_at", Instant),
    Column("first_at", Instant, nullable=False),
    # When the last list of beat's entries was sent that has this one. An entry is
    # removed if a later list of the service has others only.
    Column("listed_at", Instant),
    # The latest runs; see `_schedules/runs.py`.
    Column("runs", Document, nullable=False),
)
