"""Checks after an upgrade: no task is lost, duplicated or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from support.statements import fetch

#: The columns of a task, without those that this release computes differently.
COLUMNS = (
    "id, name, status, queue, args, kwargs, root_id, parent_id, group_id, retries, "
    "scheduled_at, eta, started_at, finished_at, worker, result, traceback, tracked"
)

#: Queries for faults, by their kind: each row is one.
FAULTS = {
    "changed": f"""
        SELECT {COLUMNS} FROM shown_before WHERE finished_at IS NOT NULL
        EXCEPT SELECT {COLUMNS} FROM workertoolbox_tasks""",
    "lost": """
        SELECT id FROM shown_before EXCEPT SELECT id FROM workertoolbox_tasks""",
    "twice": """
        SELECT id FROM workertoolbox_tasks GROUP BY id HAVING count(*) > 1""",
    "twice in history": """
        SELECT id FROM workertoolbox_history GROUP BY id HAVING count(*) > 1""",
    "live and in history": """
        SELECT id FROM workertoolbox_task
        INTERSECT SELECT id FROM workertoolbox_history""",
    # A run without a living worker is closed as lost, and the steps after it too.
    "open tasks that changed": """
        SELECT id, status FROM shown_before
        WHERE finished_at IS NULL AND status NOT IN ('STARTED', 'PLANNED')
        EXCEPT SELECT id, status FROM workertoolbox_tasks""",
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
    found = {
        fault: rows
        for fault, query in FAULTS.items()
        if (rows := fetch(database, f"{query} LIMIT 5"))
    }

    assert not found, found


def assert_published(database: str, ids: Sequence[str]) -> None:
    """Check that each task is shown once, with its end.

    Raises:
        AssertionError: A task is missing, shown twice, or shown without its end.
    """
    rows = fetch(database, PUBLISHED, ids=list(ids))

    assert Counter(id for id, *_ in rows) == Counter(ids)
    assert all(status == EXPECTED[name] for _, name, status, _ in rows)
