"""The processor time that the parts of a fleet use."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from redis import Redis

from endurance.fleet import Fleet

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def used_s(fleet: Fleet, redis: Redis) -> Mapping[str, float]:
    """Return the seconds that each part has used since it started.

    Args:
        redis: A connection to the broker.
    """
    usage = redis.info("cpu")
    server = [fleet.server.pid, *fleet.server.descendants()]
    processes = {**fleet.processes, "producer": fleet.producer}
    return {
        **{name: _of_process(each.pid) for name, each in processes.items()},
        "PostgreSQL": sum(map(_of_process, server)),
        "Redis": float(usage["used_cpu_user"]) + float(usage["used_cpu_sys"]),
        "measuring": time.process_time(),
    }


def _of_process(pid: int) -> float:
    """Return the seconds of a process and of its ended children."""
    with suppress(FileNotFoundError, ProcessLookupError):
        # The name, which is in parentheses, may contain spaces.
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
        fields = stat.rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS_PER_S
    return 0.0
