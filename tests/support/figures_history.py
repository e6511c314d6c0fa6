"""Forty days of figures in a database, with a backlog, errors and schedules."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, insert, update

from cadasta.workertoolbox.results._database.tables import (
    error_group,
    monitor,
    schedule,
)
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.error_groups import (
    IGNORED,
    RESOLVED,
    Occurrence,
    record_errors,
)
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.stored_error import StoredError
from cadasta.workertoolbox.results._history.tally import Contribution
from support.recent_tasks import MINUTE, NAMES, random_rows

#: Age of the oldest figures.
DAYS = 40

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

#: How many hours ago the backlog was sampled.
SAMPLED_HOURS = (200, 30, 29.9, 5, 4, 1, 0.5, 0)


def fill_database(engine: Engine) -> None:
    """Store tasks in all states, and figures of the last forty days."""
    now = datetime.now(UTC)
    chance = random.Random(11)
    ended = [*_ended(chance, now, 3000)]
    with engine.begin() as connection:
        for hours in SAMPLED_HOURS:  # Without tasks.
            sample_backlog(connection, now - hours * HOUR - MINUTE)
        add_contributions(connection, ended)
        record_errors(connection, _errors(ended))
        for table, rows in random_rows(now, 200).items():
            connection.execute(insert(table), rows)
        for hours in SAMPLED_HOURS:
            sample_backlog(connection, now - hours * HOUR)
        archive_batch(connection, ArchiveOptions(delay_s=0))
        # The first has come back.
        for id, state in (
            ("group0", RESOLVED),
            ("since4", RESOLVED),
            ("group1", IGNORED),
        ):
            resolved_at = now - DAY if state == RESOLVED else None
            is_same = error_group.c.id == f"1:{id}"
            changed = {"state": state, "resolved_at": resolved_at}
            connection.execute(update(error_group).where(is_same).values(changed))
        connection.execute(insert(schedule), [*_schedules(now)])
        connection.execute(insert(monitor), [*_monitors(now)])


def _ended(chance: random.Random, now: datetime, count: int) -> Iterator[Contribution]:
    for n in range(count):
        # Half of the tasks ended in the last two days. Some groups are old.
        days = DAYS * chance.random() if n % 2 else 2 * chance.random()
        status = chance.choice(("SUCCESS", "SUCCESS", "FAILURE", "LOST", "RETRY"))
        has_error = status in ("FAILURE", "RETRY")
        group = chance.randrange(7) if days < 16 else chance.randrange(10)
        has_run = status != "LOST"
        wait_s, run_s = (10 ** (7 * chance.random() - 4) for _ in range(2))
        yield Contribution(
            name=chance.choice(("", *NAMES)),
            queue=chance.choice(("", "export", "msg")),
            status=status,
            finished_at=now - timedelta(days=days, minutes=1),
            retries=0 if status == "RETRY" else chance.choice((0, 0, 0, 2)),
            redeliveries=0 if status == "RETRY" else chance.choice((0, 0, 0, 1)),
            waited_s=wait_s if has_run and n % 9 else None,
            ran_s=run_s if has_run else None,
            took_s=wait_s + run_s if has_run else None,
            error_group=f"1:group{group}" if has_error else "",
        )


def _errors(ended: list[Contribution]) -> Iterator[Occurrence]:
    for n, each in enumerate(ended):
        if each.error_group:
            error = StoredError("ValueError", "export.run", f"ValueError: {n}")
            is_retry = each.status == "RETRY"
            yield Occurrence(
                each.error_group, f"e{n}", each.name, each.finished_at, error, is_retry
            )
    now = datetime.now(UTC)
    for days in (0.5, 3, 4):
        error = StoredError("KeyError", None, f"KeyError: {days}")
        at = now - timedelta(days=days)
        yield Occurrence(f"1:since{days}", "new", "export.a", at, error)


def _schedules(now: datetime) -> Iterator[dict[str, Any]]:
    """Yield entries with every combination of times that matters."""
    number = 0
    for service in ("", "export", "unlisted"):
        for next_hours in (None, -1000, -2, -0.05, 1):
            for listed_hours in (None, -3, -0.5):
                for sent_hours in (None, -40, -1):
                    number += 1

                    def at(hours: float | None) -> datetime | None:
                        return None if hours is None else now + hours * HOUR

                    yield {
                        **{"service": service, "entry": f"entry{number}"},
                        **{"name": "export.a", "schedule": "every 60s"},
                        **{"next_at": at(next_hours), "sent_at": at(sent_hours)},
                        **{"max_interval_s": (None, 5.0, 3600.0)[number % 3]},
                        "listed_at": (
                            None if service == "unlisted" else at(listed_hours)
                        ),
                        **{"count": number, "runs": []},
                        "task_id": f"t{number}" if sent_hours else None,
                        "late_s": 20.0 * (number % 5) if sent_hours else None,
                        **{"missed": number % 2, "doubled": number % 5},
                        "first_at": now - 50 * HOUR,
                    }


def _monitors(now: datetime) -> Iterator[dict[str, Any]]:
    """Yield one monitor that is a minute behind, and one that has stopped."""
    yield {"id": "new", "read_until": now - timedelta(minutes=1), "reported_at": now}
    old = now - 2 * HOUR
    yield {"id": "stopped", "read_until": old, "reported_at": old}
    yield {"id": "starting", "read_until": None, "reported_at": now}
