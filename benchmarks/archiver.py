"""How fast a monitor copies tasks while it archives, and while it does not.

Both have the same ended tasks in the database, more than one round archives. All
messages are in the queue before the monitors start to receive them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import Engine, text

from cadasta.workertoolbox.results import upgrade
from ingest import SERVER, Fleet, all_stored, time_round
from measuring.figures import Row, compared
from measuring.rounds import alternate
from servers import postgresql, rabbitmq

#: Messages in a round, and rounds.
MESSAGES = 30_000
ROUNDS = 5

#: Ended tasks that wait for the archiver before each round.
ENDED = 60_000

_ADD_ENDED = """
WITH ended AS (
    SELECT gen_random_uuid()::text AS id, n, 'export.task' || n % 50 AS name,
        'export' || n % 7 AS queue, now() - interval '1 hour' AS at
    FROM generate_series(1, :count) n
), message AS (
    INSERT INTO workertoolbox_task (id, name, queue, args, kwargs, root_id, replaced,
        retries, scheduled_at, origin, ignore_result, seen_at)
    SELECT id, name, queue, '[1, "some/folder"]', '{"size": 1}', id, 0, 0, at,
        'me@host', false, at FROM ended
)
INSERT INTO celery_taskmeta (id, task_id, status, result, date_done, name, worker,
    retries, queue, started_at, root_id, waited_s)
SELECT nextval('task_id_sequence'), id,
    CASE WHEN n % 20 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END, '{"rows": 12345}',
    (at AT TIME ZONE 'UTC') + n * interval '1 ms', name, 'celery@host', 0, queue,
    at, id, 0.5
FROM ended
"""


def measure() -> Iterator[Row]:
    """Yield the ratio, and how many tasks were archived in a second."""
    with (
        tempfile.TemporaryDirectory() as folder,
        rabbitmq.serve(Path(folder)) as broker,
        postgresql.serve(lambda url: None, settings=SERVER) as databases,
        broker.access() as access,
        databases.database() as url,
    ):
        upgrade(url)
        archiving = Fleet(Path(folder), access, url, MESSAGES)
        never = {"WORKERTOOLBOX_ARCHIVE_AFTER": "52w"}
        resting = replace(archiving, variables=never)
        archiving.app.send_task("export.project")  # Publishing declares the queues.
        rates: list[float] = []
        rounds = alternate(
            {
                "archiving": partial(time_archiving, archiving, rates),
                "resting": partial(
                    time_round, resting, [resting.monitor], until=all_stored
                ),
            },
            rounds=ROUNDS,
        )
    archived = sorted(rates)[len(rates) // 2]
    yield compared(
        f"a monitor that archives {archived:,.0f} tasks/s",
        f"{1 / rounds.median_s('archiving'):,.0f}/s",
        f"a monitor that does not {1 / rounds.median_s('resting'):,.0f}/s",
        f"{1 / rounds.ratio('archiving', 'resting'):.2f} × the rate",
        goal="at least 0.85",
    )


def time_archiving(fleet: Fleet, rates: list[float]) -> float:
    """Return the seconds per message, and add the archived tasks per second."""
    with fleet.engine.connect() as connection:
        connection.execute(text(_ADD_ENDED), {"count": ENDED})
        connection.exec_driver_sql("VACUUM ANALYZE")
    before = count_history(fleet.engine)
    taken_s = time_round(fleet, [fleet.monitor], until=all_stored)
    rates.append((count_history(fleet.engine) - before) / (taken_s * fleet.messages))
    return taken_s


def count_history(engine: Engine) -> int:
    """Return the number of tasks in the history."""
    with engine.connect() as connection:
        count = "SELECT count(*) FROM workertoolbox_history"
        return int(connection.exec_driver_sql(count).scalar_one())
