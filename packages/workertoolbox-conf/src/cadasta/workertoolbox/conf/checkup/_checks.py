"""All checks, in order, each with a time limit."""

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
from cadasta.workertoolbox.conf.checkup._consumers import consumers
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._database import database, schema
from cadasta.workertoolbox.conf.checkup._finding import (
    Finding,
    Status,
    failed,
    skipped,
)
from cadasta.workertoolbox.conf.checkup._monitor import monitor
from cadasta.workertoolbox.conf.checkup._other_copies import other_copies
from cadasta.workertoolbox.conf.checkup._privileges import privileges
from cadasta.workertoolbox.conf.checkup._probe import probe
from cadasta.workertoolbox.conf.checkup._routes import routes
from cadasta.workertoolbox.conf.checkup._topology import topology
from cadasta.workertoolbox.conf.checkup._tracking import quarantine, untracked
from cadasta.workertoolbox.conf.checkup._versions import versions

#: Default time limit of one check, in seconds. The longest check waits three seconds
#: for a monitor, and a server on another continent answers in less than one.
TIMEOUT_S = 8.0

#: Seconds to wait for the connections to close at the end.
_CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Check:
    """A check, which yields findings.

    Attributes:
        name: The name of a finding about the check itself.
        needs: The checks that must not fail or be skipped before this one.
    """

    name: str
    run: Callable[[CheckContext], Iterator[Finding]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("versions", versions),
    Check("routes", routes),
    Check("broker", broker),
    # Before the queues: the database knows whether a monitor has run.
    Check("database", database),
    Check("schema", schema, ("database",)),
    Check("queues", topology, ("broker",)),
    Check("other copies", other_copies, ("broker",)),
    Check("consumers", consumers, ("broker", "queues")),
    Check("permissions", aws, ("broker",)),
    Check("probe", probe, ("broker", "queues")),
    Check("clock of the broker", broker_clock, ("broker",)),
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
    """Run all checks, and yield each finding at once.

    An error in a check becomes a finding.

    Args:
        timeout_s: Time limit of each check, in seconds.
    """
    incomplete: set[str] = set()
    for check in CHECKS:
        missing = [name for name in check.needs if name in incomplete]
        findings = (
            iter([skipped(check.name, f"needs {missing[0]!r}, which is not ok")])
            if missing
            else _run_in_time(check, context, timeout_s)
        )
        for finding in findings:
            if finding.status in (Status.FAILED, Status.SKIPPED):
                incomplete.add(check.name)
            yield finding
    closing = Thread(target=context.close, daemon=True)
    closing.start()
    closing.join(_CLOSE_TIMEOUT_S)


def _run_in_time(
    check: Check, context: CheckContext, timeout_s: float
) -> Iterator[Finding]:
    """Run a check in a thread, because a client that waits cannot be interrupted."""
    findings: Queue[Finding | None] = Queue()

    def run() -> None:
        try:
            for finding in check.run(context):
                findings.put(finding)
        except Exception as error:
            # A client library may raise anything, and the other checks must run too.
            detail = f"{type(error).__name__}: {error_text(error)}"
            advice = "look up this error of the client library"
            findings.put(failed(check.name, detail, advice))
        findings.put(None)

    Thread(target=run, name=check.name, daemon=True).start()
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            finding = findings.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            yield failed(
                check.name,
                f"no answer within {timeout_s:g} s",
                "check that the server is not hanging and that its answers arrive",
            )
            return
        if finding is None:
            return
        yield finding
