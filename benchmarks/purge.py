"""How fast a purge deletes old tasks, and how much it slows a monitor.

The tables hold two million tasks with their results, nearly all of them old. The purge
is compared with one statement that deletes as many tasks in one transaction, which
would block every monitor meanwhile. A monitor beside a purge is compared with a monitor
alone; on a machine with few cores they share them. PostgreSQL waits for the disk, as it
does by default.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from cadasta.workertoolbox.results import upgrade
from cadasta.workertoolbox.results._history.purge import BATCH_SIZE, find_older, purge
from ingest import Fleet, all_stored, fill_table, time_round
from measuring.figures import Row, compared
from measuring.rounds import alternate, timed
from servers import postgresql, rabbitmq
from support.processes import Process

#: Tasks in the tables, published a second apart.
TASKS = 2_000_000

#: Tasks deleted in a round, messages copied in a round, and rounds.
DELETED = 50 * BATCH_SIZE
MESSAGES = 20_000
ROUNDS = 3

#: The minimum age; all tasks but those of the newest days are older.
AGE = timedelta(days=2)

#: The tasks have not ended, so that the archiver of the monitor leaves them alone.
RESULTS = """
INSERT INTO celery_taskmeta (task_id, status, result, date_done, name)
SELECT id, 'PROGRESS', '42', scheduled_at AT TIME ZONE 'UTC', name
FROM workertoolbox_task
"""

AT_ONCE = """
WITH gone AS (
    DELETE FROM workertoolbox_task WHERE id IN (
        SELECT id FROM workertoolbox_task
        WHERE scheduled_at < :before ORDER BY scheduled_at LIMIT :count
    ) RETURNING id
),
attempts AS (
    DELETE FROM workertoolbox_attempt WHERE task_id IN (SELECT id FROM gone)
),
steps AS (DELETE FROM workertoolbox_planned WHERE id IN (SELECT id FROM gone))
DELETE FROM celery_taskmeta WHERE task_id IN (SELECT id FROM gone)
"""


@dataclass(frozen=True)
class Purged(Fleet):
    """A fleet whose old tasks a purge deletes."""

    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def stored(self) -> int:
        """The number of stored tasks that were published in the rounds."""
        newer = "SELECT count(*) FROM workertoolbox_task WHERE scheduled_at >= :since"
        with self.engine.connect() as connection:
            return int(connection.scalar(text(newer), {"since": self.began_at}) or 0)

    @contextmanager
    def purging(self) -> Iterator[Process]:
        """Run a purge that lasts longer than the measurement."""
        with self.command("purge", "--older-than", f"{AGE.days}d") as process:
            yield process
            if process.exit_code is not None:
                raise ChildProcessError(f"{process} before the monitor was done")


def measure() -> Iterator[Row]:
    """Yield the ratios."""
    with (
        tempfile.TemporaryDirectory() as folder,
        rabbitmq.serve(Path(folder)) as broker,
        postgresql.serve(lambda url: None, settings=postgresql.DURABLE) as databases,
        broker.access() as access,
        databases.database() as database,
    ):
        upgrade(database)
        fleet = Purged(Path(folder), access, database, MESSAGES)
        fleet.app.send_task("export.project")  # Publishing has declared the queues.
        fill_table(fleet.engine, TASKS)
        with fleet.engine.connect() as connection:
            connection.exec_driver_sql(RESULTS)
            connection.exec_driver_sql("VACUUM ANALYZE celery_taskmeta")
        engine = create_engine(database)
        rounds = alternate(
            {
                "purge": lambda: timed(partial(_purge, engine), DELETED),
                "at once": lambda: timed(partial(_at_once, engine), DELETED),
                "alone": partial(time_round, fleet, [fleet.monitor], until=all_stored),
                "beside": partial(
                    time_round, fleet, [fleet.monitor, fleet.purging], until=all_stored
                ),
            },
            rounds=ROUNDS,
        )
        engine.dispose()
        rates = {way: 1 / rounds.median_s(way) for way in rounds.seconds}
        for title, way, other, base in (
            ("a purge", "purge", "one statement for all", "at once"),
            ("a monitor beside a purge", "beside", "a monitor alone", "alone"),
        ):
            theirs = f"{other} {rates[base]:,.0f}/s"
            ratio = f"{1 / rounds.ratio(way, base):.2f} × the rate"
            ours = f"{rates[way]:,.0f}/s"
            yield compared(title, ours, theirs, ratio, goal="at least 0.6")


def _purge(engine: Engine, count: int) -> None:
    steps = purge(engine, find_older(engine, datetime.now(UTC) - AGE))
    deleted = sum(step["tasks"] for step in islice(steps, count // BATCH_SIZE))
    if deleted != count:
        raise ValueError(f"{deleted} deleted, not {count}")


def _at_once(engine: Engine, count: int) -> None:
    values = {"before": datetime.now(UTC) - AGE, "count": count}
    with engine.begin() as connection:
        connection.execute(text(AT_ONCE), values)
