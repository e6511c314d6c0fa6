"""What is measured of a fleet every few seconds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis
from sqlalchemy import Connection, create_engine, make_url, text

from cadasta.workertoolbox.routing._headers import PUBLISHED_AT
from endurance.fleet import MEASURING, STORED, Fleet
from endurance.processor_time import used_s
from endurance.workload import PUBLISHED, WARM_UP
from support.queue_contents import RedisContents

#: The size of each table with its indexes, and PostgreSQL's estimates of its live and
#: dead rows. The days of the history are one table.
_TABLES = """
SELECT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text AS name,
    sum(pg_table_size(c.oid)) AS table_bytes,
    sum(pg_indexes_size(c.oid)) AS index_bytes,
    sum(n_live_tup) AS live, sum(n_dead_tup) AS dead
FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.relkind = 'r' AND schemaname = 'public'
GROUP BY 1
"""

_LIVE = "SELECT count(*) FROM workertoolbox_task"

#: Tasks that have not ended, and steps of workflows that are not published.
_OPEN = """
SELECT count(*) FROM workertoolbox_task t
LEFT JOIN celery_taskmeta r ON r.task_id = t.id AND r.status IN ('SUCCESS', 'FAILURE')
FULL JOIN workertoolbox_planned p ON p.id = t.id
WHERE r.task_id IS NULL
"""

_OLDEST_END = """
SELECT min(date_done) FROM celery_taskmeta
WHERE archived_at IS NULL AND status IN ('SUCCESS', 'FAILURE')
"""

#: A statement in the log of PostgreSQL.
_STATEMENT = re.compile(r"^\S+ \S+ \S+ (\S*): LOG:  duration: ([\d.]+) ms  (.*)$", re.M)


class TableSize(NamedTuple):
    """The size of a table, and its numbers of rows."""

    table_bytes: int
    index_bytes: int
    live: int
    dead: int

    @property
    def bytes(self) -> int:
        """The size of the table with its indexes."""
        return self.table_bytes + self.index_bytes


@dataclass(frozen=True)
class Sample:
    """What a fleet used at one time.

    Attributes:
        stored: The number of messages that the monitor has stored after the warm-up.
        memory: The bytes of memory of each process.
        used_s: The seconds of processor time that each part has used.
        monitor_lag_s: Seconds since the oldest copy in the queue was published.
        archiver_lag_s: Seconds since the oldest task ended that is not archived.
        tables: The size of each table.
    """

    stored: int
    memory: Mapping[str, int]
    used_s: Mapping[str, float]
    monitor_lag_s: float
    archiver_lag_s: float
    tables: Mapping[str, TableSize]


class Statement(NamedTuple):
    """A statement that PostgreSQL has logged, and how long it took."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Sampler:
    """Measures a fleet."""

    fleet: Fleet
    _connection: Connection
    _queues: RedisContents
    _redis: Redis

    def sample(self) -> Sample:
        """Measure everything once."""
        rows = self._connection.execute(text(_TABLES))
        sizes = {name: TableSize(*map(int, size)) for name, *size in rows}
        return Sample(
            stored=self.stored(),
            memory={
                name: _resident_bytes(process.pid)
                for name, process in self.fleet.processes.items()
            },
            used_s=used_s(self.fleet, self._redis),
            monitor_lag_s=self._monitor_lag_s(),
            archiver_lag_s=self._archiver_lag_s(),
            tables=sizes,
        )

    def stored(self) -> int:
        """Return about how many messages the monitor has stored after the warm-up."""
        return int(self._scalar(STORED)) - WARM_UP

    def is_idle(self, sample: Sample) -> bool:
        """Return whether the producer has published all tasks, and all are archived."""
        is_published = PUBLISHED in self.fleet.producer.text
        is_archived = not sample.archiver_lag_s and not self._scalar(_LIVE)
        return is_published and is_archived and not any(self.waiting().values())

    def waiting(self) -> dict[str, int]:
        """Return the number of messages in each queue, and of unacknowledged ones."""
        counts: dict[str, Any] = {
            queue: self._redis.llen(self._queues.key(queue))
            for queue in ("export", "celery", "platform.fifo")
        }
        return {**counts, "unacked": self._redis.hlen(self._queues.key("unacked"))}

    def is_drained(self) -> bool:
        """Return whether all tasks that were published have ended."""
        self.fleet.check()
        return not any(self.waiting().values()) and not self._scalar(_OPEN)

    def _scalar(self, query: str) -> Any:
        return self._connection.execute(text(query)).scalar_one()

    def _monitor_lag_s(self) -> float:
        oldest: Any = self._redis.lindex(self._queues.key("platform.fifo"), -1)
        if oldest is None:
            return 0.0
        published_at = json.loads(oldest)["headers"][PUBLISHED_AT]
        return self.fleet.clock.age_s(datetime.fromisoformat(published_at))

    def _archiver_lag_s(self) -> float:
        oldest = self._scalar(_OLDEST_END)
        return (
            0.0
            if oldest is None
            else self.fleet.clock.age_s(oldest.replace(tzinfo=UTC))
        )


@contextmanager
def open_sampler(fleet: Fleet) -> Iterator[Sampler]:
    """Yield a sampler, whose statements do not count as those of the fleet."""
    url = make_url(fleet.database).update_query_dict({"application_name": MEASURING})
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    queues = RedisContents(fleet.broker)
    with engine.connect() as connection, queues.connected() as client:
        yield Sampler(fleet, connection, queues, client)
    engine.dispose()


def slow_statements(log: str) -> list[Statement]:
    """Return the statements of the fleet in PostgreSQL's log, the slowest first."""
    found = [
        Statement(float(milliseconds) / 1000, statement)
        for name, milliseconds, statement in _STATEMENT.findall(log)
        if name != MEASURING
    ]
    return sorted(found, reverse=True)


def _resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    [kibibytes] = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kibibytes) * 1024
