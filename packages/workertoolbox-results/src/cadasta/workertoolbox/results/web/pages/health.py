"""The page `/health`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results._store.upkeep.health import Health
from cadasta.workertoolbox.results.web.answers.fleet import HealthQuestion
from cadasta.workertoolbox.results.web.site import site_of
from cadasta.workertoolbox.results.web.wording.health_checks import checks_of

#: Number of monitors, days and retention classes that are shown, and of days in the
#: small chart.
MAX_MONITORS, MAX_DAYS, MAX_CLASSES, CHARTED_DAYS = 50, 400, 100, 60


@dataclass(frozen=True, slots=True)
class Day:
    """The space that the history takes for a day.

    Attributes:
        day: The day.
        keeps: The retention classes with tasks on that day.
        bytes: The size of their tables.
        rows: Estimated number of tasks; None if one is not known.
    """

    day: date
    keeps: Sequence[str]
    bytes: int
    rows: int | None


def show(request: Request) -> Response:
    """Return the page."""
    site = site_of(request)
    answer = site.refresher.ask(HealthQuestion())
    health = answer.value
    days = [*by_day(health)]
    return site.page(
        request,
        "health.html",
        answer=answer,
        health=health,
        checks=[*checks_of(health)],
        monitors=health.monitors[:MAX_MONITORS],
        other_monitors=len(health.monitors[MAX_MONITORS:]),
        days=days[:MAX_DAYS],
        other_days=len(days[MAX_DAYS:]),
        retention=health.retention[:MAX_CLASSES],
        other_classes=len(health.retention[MAX_CLASSES:]),
        chart=[*charted(days, health.completeness.at)],
        charted_days=CHARTED_DAYS,
    )


def by_day(health: Health) -> Iterator[Day]:
    """Yield the days of the history, newest first, with their classes together."""
    found: dict[date, list[tuple[str, int, int | None]]] = {}
    for each in health.storage.days:
        found.setdefault(each.day, []).append((each.keep, each.bytes, each.rows))
    for day, tables in found.items():
        rows = [number for *_, number in tables if number is not None]
        yield Day(
            day,
            sorted(keep for keep, *_ in tables),
            sum(size for _, size, _ in tables),
            sum(rows) if rows else None,
        )


def charted(days: Sequence[Day], now: datetime) -> Iterator[float | None]:
    """Yield the bytes of each of the last days, oldest first."""
    sizes = {each.day: float(each.bytes) for each in days}
    for back in reversed(range(CHARTED_DAYS)):
        yield sizes.get(now.date() - timedelta(days=back))


ROUTES = [Route("/health", show, name="health")]
