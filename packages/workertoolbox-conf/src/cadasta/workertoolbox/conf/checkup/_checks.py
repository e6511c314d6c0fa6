"""Every check, in order, each for as long as it may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread

from cadasta.workertoolbox.conf._brokers.connection import error_text
from cadasta.workertoolbox.conf.checkup._aws import aws
from cadasta.workertoolbox.conf.checkup._broker import broker
from cadasta.workertoolbox.conf.checkup._clock import broker_clock, database_clock
from cadasta.workertoolbox.conf.checkup._connections import connections
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._database import database, schema
from cadasta.workertoolbox.conf.checkup._finding import (
    Finding,
    Status,
    failed,
    skipped,
)
from cadasta.workertoolbox.conf.checkup._monitor import monitor
from cadasta.workertoolbox.conf.checkup._privileges import privileges
from cadasta.workertoolbox.conf.checkup._probe import probe
from cadasta.workertoolbox.conf.checkup._topology import topology
from cadasta.workertoolbox.conf.checkup._tracking import quarantine, untracked
from cadasta.workertoolbox.conf.checkup._versions import versions

#: Seconds for one check, unless somebody says otherwise: the longest has three for a
#: monitor, and a server on the other side of the world needs less than one.
TIMEOUT_S = 8.0

#: Seconds for closing connections at the end.
_CLOSING_S = 1.0


@dataclass(frozen=True)
class Check:
    """One check, or several of one kind.

    Attributes:
        name: How it is called where it gives no finding of its own.
        needs: The checks without which it can see nothing.
    """

    name: str
    run: Callable[[CheckContext], Iterator[Finding]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("versions", versions),
    Check("broker", broker),
    Check("queues", topology, ("broker",)),
    Check("permissions", aws, ("broker",)),
    Check("probe", probe, ("broker", "queues")),
    Check("clock of the broker", broker_clock, ("broker",)),
    Check("database", database),
    Check("schema", schema, ("database",)),
    Check("privileges", privileges, ("database",)),
    Check("connections", connections, ("database",)),
    Check("clock of the database", database_clock, ("database",)),
    Check("monitor", monitor, ("broker", "probe")),
    Check("untracked", untracked, ("database",)),
    Check("quarantine", quarantine, ("database",)),
)


def check_up(
    context: CheckContext, *, timeout_s: float = TIMEOUT_S
) -> Iterator[Finding]:
    """Yield what is found, as it is found; no check raises.

    Args:
        timeout_s: Seconds for each check.
    """
    unseen: set[str] = set()
    for check in CHECKS:
        reasons = [name for name in check.needs if name in unseen]
        found = (
            iter([skipped(check.name, f"not without {reasons[0]!r}")])
            if reasons
            else _in_time(check, context, timeout_s)
        )
        for finding in found:
            if finding.status in (Status.FAILED, Status.SKIPPED):
                unseen.add(check.name)
            yield finding
    closing = Thread(target=context.close, daemon=True)
    closing.start()
    closing.join(_CLOSING_S)


def _in_time(
    check: Check, context: CheckContext, timeout_s: float
) -> Iterator[Finding]:
    """Run a check in a thread, since no client can be told to give up its wait."""
    found: Queue[Finding | None] = Queue()

    def work() -> None:
        try:
            for finding in check.run(context):
                found.put(finding)
        except Exception as error:
            # Whatever a client raises: the others are to be seen too.
            detail = f"{type(error).__name__}: {error_text(error)}"
            found.put(failed(check.name, detail, "see what the client library says"))
        found.put(None)

    Thread(target=work, name=check.name, daemon=True).start()
    until = time.monotonic() + timeout_s
    while True:
        try:
            finding = found.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            yield failed(
                check.name,
                f"no answer within {timeout_s:g} s",
                "look whether the server hangs, or the network loses its answers",
            )
            return
        if finding is None:
            return
        yield finding
