"""The window of time of a page, in its URL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from starlette.datastructures import QueryParams

from cadasta.workertoolbox.results._instants import parse_instant
from cadasta.workertoolbox.results._store.rows.windows import check_window

#: The windows that a page offers, as `since` in its URL, with their titles.
WINDOWS = {
    "15m": "15 minutes",
    "1h": "1 hour",
    "24h": "24 hours",
    "7d": "7 days",
}

#: `since` in a URL for a window without a start.
ALL_TIME = "all"


@dataclass(frozen=True, slots=True)
class Window:
    """A window of time.

    Attributes:
        since: Its start; None for all time.
        until: Its end, which is not included; None for the present.
        since_text: The start as in the URL, such as `24h`.
        until_text: The end, likewise.
    """

    since: datetime | None
    until: datetime | None
    since_text: str
    until_text: str

    @property
    def length(self) -> timedelta | None:
        """How long it is; None without a start."""
        if self.since is None:
            return None
        return (self.until or datetime.now(UTC)) - self.since

    @property
    def is_fixed(self) -> bool:
        """Whether it is one of `WINDOWS`."""
        return self.since_text in WINDOWS and not self.until_text

    @property
    def title(self) -> str:
        """The window in words, such as `the last 24 hours`."""
        if self.is_fixed:
            return f"the last {WINDOWS[self.since_text].removeprefix('1 ')}"
        since = f"since {self.since_text}" if self.since_text else ""
        until = f"until {self.until_text}" if self.until_text else ""
        return f"{since} {until}".strip() or "all time"


def read_window(
    params: QueryParams, *, default: str, zone: tzinfo, now: datetime | None = None
) -> Window:
    """Return the window of `since` and `until` in a URL.

    Args:
        default: `since` if the URL does not have it.
        zone: The time zone of times without an offset.

    Raises:
        InvalidTime: One of them is malformed.
        InvalidWindow: The window ends before it begins.
    """
    now = now or datetime.now(UTC)
    until_text = params.get("until", "").strip()
    since_text = params.get("since", default).strip()
    if since_text == ALL_TIME:
        since_text = ""
    since = parse_instant(since_text, now=now, zone=zone) if since_text else None
    until = parse_instant(until_text, now=now, zone=zone) if until_text else None
    if since is not None:
        check_window(since, until or now)
    return Window(since, until, since_text, until_text)
