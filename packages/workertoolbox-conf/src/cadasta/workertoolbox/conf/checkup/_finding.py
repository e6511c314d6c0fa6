"""What a check reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome of one check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check-up.

    Attributes:
        check: The name of the check, which is stable between releases.
        detail: What was seen, without passwords.
        advice: What to do; empty if nothing has to be done.
    """

    check: str
    status: Status
    detail: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the finding as `--json` prints it."""
        return asdict(self)


def ok(check: str, detail: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check, Status.OK, detail)


def warning(check: str, detail: str, advice: str = "") -> Finding:
    """Return a finding that needs attention but does not fail the check-up."""
    return Finding(check, Status.WARNING, detail, advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    """Return a finding that fails the check-up."""
    return Finding(check, Status.FAILED, detail, advice)


def skipped(check: str, reason: str) -> Finding:
    """Return a finding about a check that could not run."""
    return Finding(check, Status.SKIPPED, reason)
