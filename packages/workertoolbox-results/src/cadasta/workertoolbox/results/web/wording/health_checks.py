"""What the state of the database means, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._store.figures.queues import MAX_SAMPLE_AGE
from cadasta.workertoolbox.results._store.upkeep.health import Health
from cadasta.workertoolbox.results._store.upkeep.quarantine import MAX_COUNTED

#: Seconds that monitors, and the archiver, may be behind without a warning.
MAX_LAG_S = 120.0


class Check(NamedTuple):
    """One thing that is well, or not.

    Attributes:
        tone: `good`, `warn` or `bad`, as in `app.css`.
        title: What was looked at.
        sentence: What was found, and what to do.
        command: A command that helps.
        page: The name of the page that says more.
    """

    tone: str
    title: str
    sentence: str
    command: str | None = None
    page: str | None = None

    @property
    def word(self) -> str:
        """The tone in a word."""
        return {"good": "good", "warn": "warning", "bad": "fault"}[self.tone]


def checks_of(health: Health) -> Iterator[Check]:
    """Yield what the state of the database means."""
    yield _monitors(health)
    if health.monitors:
        yield _lag(health)
    yield _archiver(health)
    yield _quarantine(health)
    yield from _retention(health)
    yield _schema(health)
    yield from _role(health)


def _monitors(health: Health) -> Check:
    running = sum(each.is_running for each in health.monitors)
    if running:
        sentence = f"{counted(running, 'monitor runs', 'monitors run')}."
        return Check("good", "Monitors", sentence)
    if health.monitors:
        last_s = _seconds_since(health, health.monitors[0].reported_at)
        sentence = f"No monitor runs: the last one reported {duration_text(last_s)} ago"
    else:
        sentence = "No monitor has reported within a day"
    return Check(
        "bad",
        "Monitors",
        f"{sentence}. New tasks are not stored until one runs.",
        "celery -A proj tasks monitor",
    )


def _lag(health: Health) -> Check:
    lag_s = max(health.completeness.monitor_lag_s, 0.0)
    sentence = f"All messages until {duration_text(lag_s)} ago are stored."
    return Check("good" if lag_s <= MAX_LAG_S else "warn", "Messages", sentence)


def _archiver(health: Health) -> Check:
    sampled_at = health.sampled_at
    if sampled_at is None:
        sentence = "No archiver has run yet: there are no figures."
        return Check("warn", "Archiver", sentence, "celery -A proj tasks archive")
    # A sample has the time at which its minute began.
    age_s = max(_seconds_since(health, sampled_at) - 60, 0.0)
    if age_s > MAX_SAMPLE_AGE.total_seconds():
        sentence = f"No archiver has taken a sample for {duration_text(age_s)}."
        return Check("warn", "Archiver", sentence, "celery -A proj tasks archive")
    lag_s = max(health.completeness.archiver_lag_s, 0.0)
    sentence = f"All tasks that ended until {duration_text(lag_s)} ago are archived."
    return Check("good" if lag_s <= MAX_LAG_S else "warn", "Archiver", sentence)


def _quarantine(health: Health) -> Check:
    number = health.quarantined
    if not number:
        sentence = "Monitors could read every message that reached them."
        return Check("good", "Quarantine", sentence)
    more = " or more" if number == MAX_COUNTED else ""
    word = "message is" if number == 1 else "messages are"
    sentence = f"{number:,}{more} {word} in quarantine, which no monitor could read."
    return Check("warn", "Quarantine", sentence, page="quarantine")


def _retention(health: Health) -> Iterator[Check]:
    today = health.completeness.at.date()
    for each in health.retention:
        if each.is_overdue(today):
            sentence = (
                f"Tasks of {each.keep} that ended on {each.oldest_day} are older than "
                f"{each.days:,} days. An archiver deletes them when nothing uses them: "
                "its log names what does."
            )
            yield Check("warn", "Retention", sentence)


def _schema(health: Health) -> Check:
    if health.revision > health.head_revision:
        sentence = (
            f"The schema has revision {health.revision}, and this release knows "
            f"{health.head_revision}: upgrade this server, too."
        )
        return Check("warn", "Schema", sentence)
    return Check("good", "Schema", f"Revision {health.revision}, the newest one.")


def _role(health: Health) -> Iterator[Check]:
    storage = health.storage
    if storage.role is None:
        return
    if storage.can_write:
        sentence = f"{storage.role} may change tables. These pages only need to read."
        command = "celery -A proj tasks check --role reader"
        yield Check("warn", "Role", sentence, command)
    else:
        yield Check("good", "Role", f"{storage.role} may only read.")


def _seconds_since(health: Health, at: datetime) -> float:
    return (health.completeness.at - at).total_seconds()
