"""What happens in the week of the shop."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from kombu.message import Message

from export_demo.week.clock import Clock
from export_demo.week.exports import export_jobs
from export_demo.week.fleet import Fleet, Run
from export_demo.week.schedules import scheduled_jobs
from export_demo.week.traffic import RELEASES, usual_jobs
from export_demo.week.troubles import (
    Rerun,
    troubled_jobs,
    troubled_runs,
    unreadable_messages,
)


@dataclass(frozen=True, slots=True)
class Week:
    """All that a database is to know of a week.

    Attributes:
        runs: The runs of all tasks; those of one task are in their order.
        unreadable: Messages for the quarantine, and when a monitor saw them.
        rerun: Tasks that were run again.
        resolved: Types of errors that somebody has resolved, and when.
        ignored: Types of errors that somebody ignores.
        releases: Services, their versions, and when each appeared.
    """

    since: datetime
    until: datetime
    runs: Sequence[Run]
    unreadable: Sequence[tuple[Message, datetime]]
    rerun: Rerun
    resolved: Mapping[str, datetime]
    ignored: Sequence[str]
    releases: Sequence[tuple[str, str, datetime]]


def generate(*, now: datetime, share: float = 1.0, seed: int = 16) -> Week:
    """Return the week before an instant.

    Args:
        now: The present, in UTC.
        share: How much of the usual tasks happens; 1.0 means 20,000 tasks.
        seed: Weeks with the same seed and present are the same.
    """
    clock = Clock(now.replace(microsecond=0), random.Random(f"{seed} {now:%Y%m%d%H}"))
    down = (clock.ago(days=3, hours=2), clock.ago(days=3, hours=1, minutes=22))
    fleet = Fleet(clock.now, clock.chance, pauses={"search": [down]})
    jobs = chain(
        usual_jobs(clock, share),
        export_jobs(clock, share),
        scheduled_jobs(clock),
        troubled_jobs(clock),
    )
    runs = [*fleet.run(jobs), *troubled_runs(clock)]
    key = f"{clock.chance.getrandbits(48):012x}"
    rerun = Rerun.of(clock, runs, id=key, at=clock.ago(minutes=80))
    return Week(
        since=clock.since,
        until=clock.now,
        runs=[*runs, *rerun.repeated],
        unreadable=unreadable_messages(clock),
        rerun=rerun,
        resolved={
            "KeyError": clock.ago(days=3),
            "OSError": clock.ago(hours=2),
        },
        ignored=["export_service.msg.WebhookRefused"],
        releases=[
            ("export", "3.2", clock.ago(days=4, hours=6)),
            ("shop", RELEASES[1], clock.ago(hours=30)),
            ("catalog", RELEASES[1], clock.ago(hours=29.8)),
            ("catalog", f"{RELEASES[1]}.1", clock.ago(hours=5)),
        ],
    )
