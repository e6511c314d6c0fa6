"""How pages write numbers, times and texts: in one way everywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from markupsafe import Markup, escape

from cadasta.workertoolbox.results._duration_text import age_text, duration_text
from cadasta.workertoolbox.results._number_text import count_text, share_text
from cadasta.workertoolbox.results._safe_text import terminal_text

#: What a cell shows whose value is not known.
UNKNOWN = "–"

#: The cookie with the time zone of the viewer, such as `Europe/Berlin`, from `app.js`.
ZONE_COOKIE = "workertoolbox_zone"

#: Status of a task, a workflow or a group of errors, with the tone of its label in
#: `app.css`.
TONES = {
    "SUCCESS": "good",
    "FAILURE": "bad",
    "LOST": "bad",
    "REVOKED": "muted",
    "REJECTED": "muted",
    "IGNORED": "muted",
    "STARTED": "active",
    "RETRY": "warn",
    "QUEUED": "waiting",
    "SCHEDULED": "waiting",
    "PLANNED": "waiting",
    "done": "good",
    "failed": "bad",
    "partly failed": "bad",
    "running": "active",
    "waiting": "waiting",
    "new": "bad",
    "back": "bad",
    "ongoing": "warn",
    "quiet": "muted",
    "resolved": "good",
    "ignored": "muted",
}


def visible(value: Any) -> Any:
    """Return a text without invisible characters, which become escapes like `\\x1b`.

    The environment applies it to every value that a template shows: names, arguments
    and tracebacks come from anyone who can publish a message. Lines stay lines.
    """
    if value is None:
        return ""
    if type(value) is str and value.isascii() and value.isprintable():
        return value  # As most are, and a page shows thousands.
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return "\n".join(
            "\t".join(map(terminal_text, line.split("\t")))
            for line in value.split("\n")
        )
    return value


def zone_of(cookies: Mapping[str, str]) -> tzinfo:
    """Return the time zone of the viewer; UTC if it is not known."""
    try:
        return ZoneInfo(cookies.get(ZONE_COOKIE, ""))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def instant(at: datetime | None, zone: tzinfo = UTC) -> str:
    """Return a time in the viewer's zone, with the time in UTC as its title."""
    if at is None:
        return UNKNOWN
    return _time_element(at, local_text(at, zone))


def local_text(at: datetime, zone: tzinfo = UTC) -> str:
    """Return a time in a zone, for attributes."""
    return at.astimezone(zone).replace(tzinfo=None).isoformat(" ", "seconds")


def _time_element(at: datetime, text: str, attributes: str = "") -> str:
    """Return an instant as a text, with the time in UTC as its title."""
    utc = at.astimezone(UTC)
    # Without `Markup.format`, which takes ten times as long, and pages have hundreds.
    return Markup(
        f'<time datetime="{utc.isoformat()}" title="{local_text(utc)} UTC"'
        f"{attributes}>{escape(text)}</time>"
    )


def age(at: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago an instant was, with the time in UTC as its title."""
    if at is None:
        return UNKNOWN
    text = age_text(at, now or datetime.now(UTC))
    return _time_element(at, text, " data-age")


def ahead(at: datetime | None, now: datetime | None = None) -> str:
    """Return how far ahead an instant is, with the time in UTC as its title."""
    if at is None:
        return UNKNOWN
    now = now or datetime.now(UTC)
    if at <= now:
        return age(at, now)
    text = f"in {duration_text((at - now).total_seconds())}"
    return _time_element(at, text, " data-age")


def elapsed(since: datetime | None, now: datetime | None = None) -> str:
    """Return the time since an instant, such as `2.1 min`."""
    if since is None:
        return UNKNOWN
    return duration(max(((now or datetime.now(UTC)) - since).total_seconds(), 0.0))


def rate(per_second: float | None) -> str:
    """Return a number of tasks per second, minute or hour, such as `2.1/min`."""
    if per_second is None:
        return UNKNOWN
    if not per_second:
        return "0"
    for unit, seconds in (("s", 1), ("min", 60)):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:,.1f}/{unit}"
    return f"{per_second * 3600:,.1f}/h"


def duration(seconds: float | None) -> str:
    """Return a duration such as `2.1 min`."""
    return duration_text(seconds) or UNKNOWN


def count(number: int | None) -> str:
    """Return a number such as `12,345`."""
    return count_text(number)


def share(part: float | None) -> str:
    """Return a share from 0 to 1 in percent."""
    return share_text(part) or UNKNOWN


def size(number: int | None) -> str:
    """Return a number of bytes, such as `1.5 MB`."""
    if number is None:
        return UNKNOWN
    amount = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def value(something: Any) -> str:
    """Return a value as JSON with indents; a text as it is."""
    if isinstance(something, str):
        return something
    return json.dumps(something, ensure_ascii=False, indent=2)


def status(name: str) -> str:
    """Return the label of a status."""
    shown = escape(visible(name))
    return Markup(f'<span class="status {tone(name)}">{shown}</span>')


def tone(name: str | None) -> str:
    """Return the tone of a status; of one that is not known, `unknown`."""
    return "unknown" if name is None else TONES.get(name, "active")


FILTERS = {
    each.__name__: each
    for each in (
        *(age, ahead, count, duration, elapsed, rate),
        *(share, size, status, tone, value),
    )
}
