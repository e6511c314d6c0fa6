"""What Spin checks: the models within bounds, and variants that must fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """A model with bounds, in which all properties must hold.

    Attributes:
        model: The name of a file in this folder.
        bounds: Values for the names that the model defines.
    """

    model: str
    bounds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """A model with one change, which must break a property.

    Attributes:
        change: The name that the model tests with `#ifdef`.
        meaning: What is changed.
        breaks: The property, as the model names it in a comment.
        bounds: As those of a check.
    """

    model: str
    change: str
    meaning: str
    breaks: str
    bounds: Mapping[str, int] = field(default_factory=dict)


#: Within seconds, for `test_model.py`.
SMALL = (
    Check("pipe", {"FAULTS": 1}),
    Check("chord", {"FAULTS": 1}),
)

#: Within minutes, for `hatch run model`.
LARGE = (
    Check("pipe", {"FAULTS": 2}),
    Check("pipe", {"FAULTS": 1, "MONITORS": 2}),
    Check("pipe", {"FAULTS": 1, "ARCHIVERS": 2}),
    Check("pipe", {"FAULTS": 1, "WORKERS": 2}),
    Check("pipe", {"FAULTS": 3, "WITHOUT_DELETIONS": 1}),
    Check("chord", {"FAULTS": 3}),
)

#: Without the processes that a variant does not need, its trace is shorter.
_ONLY = {"WITHOUT_DELETIONS": 1}

VARIANTS = (
    Variant(
        "pipe",
        "REQUEUE_THROUGH_EXCHANGE",
        "an unacknowledged message returns through its exchange, as with kombu alone",
        "Executed by tracking: 0.",
        _ONLY,
    ),
    Variant(
        "pipe",
        "ACK_BEFORE_COMMIT",
        "a monitor acknowledges a copy before it commits the message",
        "Lost copies: 0.",
        _ONLY,
    ),
    Variant(
        "pipe",
        "COUNT_OUTSIDE",
        "the archiver counts tasks in a transaction of its own",
        "Counted other than once: 0.",
        _ONLY,
    ),
    Variant(
        "pipe",
        "NO_HOUSEKEEPING",
        "no housekeeping merges a message that was committed during the archival",
        "Lost messages: 0.",
        _ONLY,
    ),
    Variant(
        "pipe",
        "DELETE_UNARCHIVED",
        "a result can be deleted before it is archived",
        "Lost ends: 0.",
    ),
    Variant(
        "chord",
        "COUNT_AFTER_SUCCESS",
        "a header task is counted after its success is stored",
        "Lost bodies: 0.",
    ),
    Variant(
        "chord",
        "TAKE_FROM_OTHERS",
        "the end of any process of the header makes its worker start the body at once",
        "Bodies published twice: 0.",
    ),
    Variant(
        "chord",
        "SLOW_PUBLISHER",
        "publishing a body takes longer than `TAKEOVER_S`",
        "Bodies published twice: 0.",
    ),
)
