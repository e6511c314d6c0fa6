"""Tasks in all states of the last half hour, as monitors and workers store them."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from cadasta.workertoolbox.results._database.tables import attempt, task, taskmeta

NAMES = ("export.a", "export.b", "export.rare", "celery.chord_unlock")
STATUSES = ("SUCCESS", "SUCCESS", "SUCCESS", "FAILURE", "REVOKED", "STARTED", "RETRY")

MINUTE = timedelta(minutes=1)


def random_rows(now: datetime, count: int) -> dict[Any, list[dict[str, Any]]]:
    """Return rows of tasks in all states, as monitors and workers store them."""
    chance = random.Random(7)
    rows: dict[Any, list[dict[str, Any]]] = {task: [], attempt: [], taskmeta: []}
    for n in range(count):
        name = NAMES[int(len(NAMES) * chance.random() ** 2)]
        queue = chance.choice(("export", "msg"))
        at = now - MINUTE * (5 + 20 * chance.random())
        eta = chance.choice((None, None, None, now + 60 * MINUTE, now - MINUTE))
        message = {
            **{"name": name, "queue": queue, "replaced": 0, "retries": 0},
            **{"scheduled_at": at, "eta": eta, "seen_at": at},
        }
        origin = f"gen{n}@{chance.choice(('web', 'beat'))}"
        others = {"ignore_result": False, "published_at": at, "origin": origin}
        if n % 10:
            rows[attempt].append({"task_id": f"id{n}", **message})
            rows[task].append(
                {"id": f"id{n}", "root_id": f"id{n}", **message, **others}
            )
        if n % 4:
            status = chance.choice(STATUSES)
            started_at = at + chance.random() * 2 * MINUTE
            ran = chance.random() * 3 * MINUTE
            done = started_at if status == "STARTED" else started_at + ran
            is_failure = status == "FAILURE"
            rows[taskmeta].append(
                {
                    **{"id": n + 1, "task_id": f"id{n}", "status": status},
                    **{"name": name, "queue": queue, "result": b"42"},
                    **{"worker": f"w{chance.randrange(3)}@host", "retries": 0},
                    **{"started_at": started_at, "published_at": at},
                    "error_group": f"1:{name}" if is_failure else None,
                    "date_done": done.replace(tzinfo=None),
                }
            )
    return rows
