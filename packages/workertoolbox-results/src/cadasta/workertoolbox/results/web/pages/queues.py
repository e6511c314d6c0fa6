"""The page `/queues`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results._history.tiers import interval_start
from cadasta.workertoolbox.results._store.figures.queues import (
    MAX_COUNTED,
    MAX_SAMPLE_AGE,
    QueueBacklog,
)
from cadasta.workertoolbox.results._store.figures.rollups import BacklogSample
from cadasta.workertoolbox.results._store.fleet.routes import host_family
from cadasta.workertoolbox.results.web.answers.fleet import CHARTED, QueuesQuestion
from cadasta.workertoolbox.results.web.site import site_of

#: Maximum number of queues that are shown: those with most waiting tasks.
MAX_SHOWN = 200


def show(request: Request) -> Response:
    """Return the page."""
    site = site_of(request)
    answer = site.refresher.ask(QueuesQuestion())
    now, found = answer.at, answer.value.backlog
    counted_at = min((each.counted_at for each in found), default=now)
    return site.page(
        request,
        "queues.html",
        answer=answer,
        queues=found[:MAX_SHOWN],
        others=found[MAX_SHOWN:],
        unserved=find_unserved(found),
        waiting=_sum(each.queued for each in found),
        charts=charts_of(answer.value.samples, now),
        families=_families,
        charted_h=CHARTED // timedelta(hours=1),
        counted_at=None if now - counted_at < timedelta(seconds=30) else counted_at,
        max_counted=MAX_COUNTED,
        is_outdated=now - counted_at > MAX_SAMPLE_AGE,
    )


def find_unserved(found: Sequence[QueueBacklog]) -> Sequence[QueueBacklog]:
    """Return the queues whose tasks wait and that no worker consumes.

    Workers without `result_extended` do not store their names. If no name is known at
    all, a queue in which a task runs, or has ended, is consumed.
    """
    are_named = any(each.consumers for each in found)
    return [
        each
        for each in found
        if each.queued
        and not each.consumers
        and (are_named or not (each.running or each.ended_at))
    ]


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Return the sum; None if one of the numbers is not known."""
    known = [*numbers]
    return None if None in known else sum(filter(None, known))


def _families(workers: Sequence[str]) -> Sequence[str]:
    """Return the names of workers, those of similar pods as one with their number."""
    families: dict[str, list[str]] = {}
    for worker in workers:
        families.setdefault(host_family(worker), []).append(worker)
    return [
        f"{family} × {len(each)}" if len(each) > 1 else each[0]
        for family, each in families.items()
    ]


def charts_of(
    samples: Sequence[BacklogSample], now: datetime
) -> Mapping[str, Sequence[float | None]]:
    """Return the waiting tasks of each queue over time.

    They are None while no archiver was running. A queue without a sample in a step that
    has others had no tasks.
    """
    if not samples:
        return {}
    length = samples[0].until - samples[0].since
    first = min(samples[0].since, interval_start(now - CHARTED, length))
    count = (now - first) // length + 1
    sampled = {(each.since - first) // length for each in samples}
    known = [0.0 if place in sampled else None for place in range(count)]
    found: dict[str, list[float | None]] = {}
    for each in samples:
        if each.queue is not None:
            bars = found.setdefault(each.queue, [*known])
            bars[(each.since - first) // length] = float(each.queued_max)
    return found


ROUTES = [Route("/queues", show, name="queues")]
