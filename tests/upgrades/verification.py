"""Checks after an upgrade: no task is lost, duplicated or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from support.statements import execute, fetch

#: The columns of a task, without those that this release computes differently.
COLUMNS = (
    *("name", "status", "queue", "args", "kwargs", "root_id", "parent_id", "group_id"),
    *("retries", "scheduled_at", "eta", "started_at", "finished_at", "worker"),
    *("result", "traceback", "tracked"),
)

BEFORE = ", ".join(f"before.{name}" for name in COLUMNS)
AFTER = ", ".join(f"after.{name}" for name in COLUMNS)

#: The tasks that this release shows. Two connections read the view, each a half.
SHOWN = "CREATE UNLOGGED TABLE shown_after AS SELECT * FROM workertoolbox_tasks"
PARTS = ("id < '8'", "id >= '8'")

BOTH = "shown_before AS before JOIN shown_after AS after USING (id)"

#: Queries for faults, by their kind: each row is one.
FAULTS = {
    "changed": f"""
        SELECT before, after FROM {BOTH}
        WHERE before.finished_at IS NOT NULL
        AND ({BEFORE}) IS DISTINCT FROM ({AFTER})""",
    "lost": """
        SELECT id FROM shown_before EXCEPT SELECT id FROM shown_after""",
    "twice": """
        SELECT id FROM shown_after GROUP BY id HAVING count(*) > 1""",
    "twice in history": """
        SELECT id FROM workertoolbox_history GROUP BY id HAVING count(*) > 1""",
    "live and in history": """
        SELECT id FROM workertoolbox_task
        INTERSECT SELECT id FROM workertoolbox_history""",
    # A run without a living worker is closed as lost, and the steps after it too.
    "open tasks that changed": f"""
        SELECT id, before.status, after.status FROM {BOTH}
        WHERE before.finished_at IS NULL
        AND before.status NOT IN ('STARTED', 'PLANNED')
        AND before.status <> after.status""",
    "counted otherwise": """
        SELECT count(*) FROM workertoolbox_history HAVING count(*) <> (
            SELECT sum(count) FROM workertoolbox_rollup
            WHERE tier = 'day' AND status <> 'RETRY'
        )""",
    "other rows": """
        SELECT * FROM counted_before EXCEPT SELECT
            (SELECT count(*) FROM workertoolbox_quarantine),
            (SELECT count(*) FROM workertoolbox_chord),
            (SELECT count(*) FROM workertoolbox_chord_part),
            (SELECT count(*) FROM celery_tasksetmeta)""",
}

PUBLISHED = """
SELECT id, name, status, tracked FROM workertoolbox_tasks WHERE id = ANY (:ids)
"""

EXPECTED = {"export.echo": "SUCCESS", "export.fail": "FAILURE"}


def all_ended(database: str, ids: Sequence[str]) -> bool:
    """Return whether tasks are shown as ended, and their messages have been seen."""
    rows = fetch(database, PUBLISHED, ids=list(ids))
    open_states = Counter(
        (status, tracked)
        for _, name, status, tracked in rows
        if status != EXPECTED[name] or not tracked
    )
    assert not open_states, f"open are {open_states}"
    assert len(rows) >= len(ids), f"{len(rows)} of {len(ids)} are shown"
    return True


def assert_moved(database: str) -> None:
    """Compare the tasks with those that the last release showed before the upgrade.

    Raises:
        AssertionError: A task is lost, is there twice or has changed, or is counted
            more or less than once.
    """
    execute(database, f"{SHOWN} WHERE false")
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(partial(_copy, database), PARTS):
            pass
    execute(database, "ANALYZE shown_after")
    found = {
        fault: rows
        for fault, query in FAULTS.items()
        if (rows := fetch(database, f"{query} LIMIT 5"))
    }

    assert not found, found


def _copy(database: str, part: str) -> None:
    insert = f"INSERT INTO shown_after SELECT * FROM workertoolbox_tasks WHERE {part}"
    execute(database, insert)


def assert_published(database: str, ids: Sequence[str]) -> None:
    """Check that each task is shown once, with its end.

    Raises:
        AssertionError: A task is missing, shown twice, or shown without its end.
    """
    rows = fetch(database, PUBLISHED, ids=list(ids))

    assert Counter(id for id, *_ in rows) == Counter(ids)
    assert all(status == EXPECTED[name] for _, name, status, _ in rows)
