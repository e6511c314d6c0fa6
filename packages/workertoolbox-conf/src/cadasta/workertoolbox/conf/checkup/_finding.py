"""What a check has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    """How it stands with one thing."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check-up.

    Attributes:
        check: What was looked at; it stays the same from release to release.
        detail: What was seen, without passwords.
        advice: What to do about it; empty where there is nothing to do.
    """

    check: str
    status: Status
    detail: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it for `--json`."""
        return asdict(self)


def ok(check: str, detail: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Status.OK, detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """Return what is worth a look, and does not fail a check-up."""
    return Finding(check, Status.WARNING, detail, advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    """Return what has to be mended."""
    return Finding(check, Status.FAILED, detail, advice)


def skipped(check: str, reason: str) -> Finding:
    """Return that nothing could be seen."""
    return Finding(check, Status.SKIPPED, reason)
