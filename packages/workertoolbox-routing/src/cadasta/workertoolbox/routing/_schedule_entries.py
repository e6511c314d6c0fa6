"""Entries of beat's schedule, as text.

Only beat imports this module: it needs `celery.schedules`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from celery.schedules import crontab, schedule, solar

#: Maximum number of characters of a name, and of a schedule in another form.
MAX_TEXT = 500


def describe_entry(entry: Any, now: datetime) -> dict[str, Any]:
    """Return what is known of an entry before it is sent.

    Args:
        entry: A `ScheduleEntry` of Celery, or of another scheduler.
        now: The present, with a time zone.
    """
    plan = entry.schedule
    model = getattr(entry, "model", None)  # Of django-celery-beat.
    due_at = _next_after(plan, entry.last_run_at, now)
    start_time = getattr(model, "start_time", None)
    if start_time is not None and due_at is not None:
        due_at = max(due_at, plan.maybe_make_aware(start_time))
    next_at = _next_after(plan, now, now)
    expires = getattr(model, "expires", None)
    if expires is not None:
        # An entry is disabled when it is looked at after this time.
        expires = plan.maybe_make_aware(expires)
        if due_at is not None and max(due_at, now) >= expires:
            due_at = None
    is_last = getattr(model, "one_off", False) or (
        expires is not None and next_at is not None and next_at >= expires
    )
    return {
        "entry": str(entry.name)[:MAX_TEXT],
        "schedule": schedule_text(plan),
        "timezone": _timezone(plan),
        "due_at": _shown(due_at),
        "next_at": None if is_last or (next_at and next_at <= now) else _shown(next_at),
    }


def schedule_text(plan: Any) -> str:
    """Return a schedule as text.

    That is `30 2 * * mon-fri` (minute, hour, day of the month, month, day of the week),
    `every 900s`, `solar sunset 52.5 13.4`, `at 2026-01-02T03:04:05+00:00` for one run,
    or the repr of a schedule of another kind.
    """
    if isinstance(plan, crontab):
        fields: Any = plan
        return (
            " ".join(
                _field(getattr(fields, f"_orig_{name}"))
                for name in ("minute", "hour", "day_of_month", "month_of_year")
            )
            + f" {_field(fields._orig_day_of_week)}"
        )
    if _is_interval(plan):
        seconds = plan.run_every.total_seconds()
        return f"every {int(seconds) if seconds == int(seconds) else seconds}s"
    if isinstance(plan, solar):
        return f"solar {plan.event} {plan.lat} {plan.lon}"
    if isinstance(clocked := getattr(plan, "clocked_time", None), datetime):
        return f"at {clocked.isoformat()}"
    return repr(plan)[:MAX_TEXT]


def _field(value: Any) -> str:
    """Return a field of a crontab, which may be a number, a text or a set."""
    if isinstance(value, int | str):
        return "".join(str(value).split()) or "*"
    return ",".join(str(each) for each in sorted(value))


def _timezone(plan: Any) -> str | None:
    return str(plan.tz) if isinstance(plan, crontab) else None


def _next_after(plan: Any, after: datetime, now: datetime) -> datetime | None:
    """Return when a schedule is due for the first time after an instant."""
    after = plan.maybe_make_aware(after)
    if _is_interval(plan) and not plan.relative:
        in_an_interval: datetime = after + plan.run_every
        return in_an_interval
    if (zone := getattr(plan, "tz", None)) is not None:
        after = after.astimezone(zone)
    # The schedule has measured from an instant a little later than `now`, and is due at
    # a whole second.
    remaining: timedelta = plan.remaining_estimate(after)
    moment = now + remaining + timedelta(seconds=0.5)
    return moment.replace(microsecond=0)


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _is_interval(plan: Any) -> bool:
    return isinstance(plan, schedule)
