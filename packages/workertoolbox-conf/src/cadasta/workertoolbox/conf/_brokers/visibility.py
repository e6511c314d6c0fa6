"""Check that no task takes longer than the visibility timeout of the broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cadasta.workertoolbox.conf._brokers.task_options import task_options
from cadasta.workertoolbox.conf._brokers.urls import scheme
from cadasta.workertoolbox.conf._errors import ConflictingSettings, InvalidValue

#: Seconds after which kombu's transports deliver an unacknowledged message again,
#: unless `visibility_timeout` says otherwise.
VISIBILITY_S = {"sqs": 1_800, "redis": 3_600, "rediss": 3_600, "sentinel": 3_600}

#: The highest visibility timeout that SQS accepts, in seconds: 12 hours.
_SQS_MAX_S = 43_200

#: Options of a task that keep its message unacknowledged, in seconds. A prefetched
#: message also waits while the tasks before it run.
_DURATION_OPTIONS = (
    "countdown",
    "default_retry_delay",
    "retry_backoff_max",
    "soft_time_limit",
    "time_limit",
)


def check_visibility(values: Mapping[str, Any], urls: Sequence[str]) -> None:
    """Refuse a visibility timeout that is shorter than a task may take or wait.

    Args:
        values: Settings, rendered.
        urls: The broker URLs that are named.

    Raises:
        ConflictingSettings: A time limit, countdown or retry delay is above the
            visibility timeout, or the timeout is above the maximum of SQS.
        InvalidValue: The visibility timeout is not a positive number of seconds.
    """
    visibility_s = _visibility_s(values, urls)
    if visibility_s is None:
        return
    for name, seconds in _durations(values):
        if seconds > visibility_s:
            raise ConflictingSettings(
                f"{name}={seconds!r} is above the {visibility_s} seconds of the "
                "visibility timeout, after which the broker delivers an "
                "unacknowledged message again: the task may run twice; set "
                'broker_transport_options={"visibility_timeout": …} to '
                f"{seconds} or more, or lower {name}"
            )


def _visibility_s(values: Mapping[str, Any], urls: Sequence[str]) -> float | None:
    """Return the visibility timeout in seconds, or None if none is known."""
    options = values.get("broker_transport_options") or {}
    given = options.get("visibility_timeout")
    schemes = [scheme(url) for url in urls]
    known = [VISIBILITY_S[each] for each in schemes if each in VISIBILITY_S]
    if given is not None:
        _check_given(given, is_sqs="sqs" in schemes)
        # Other brokers ignore the option.
        return given if known or not urls else None
    # Predefined queues have the timeout that they were created with.
    return min(known, default=None) if not options.get("predefined_queues") else None


def _check_given(visibility_s: Any, *, is_sqs: bool) -> None:
    if not _is_number(visibility_s) or visibility_s <= 0:
        raise InvalidValue(
            f"visibility_timeout={visibility_s!r} in broker_transport_options is not a "
            "number of seconds; write one, as in 3600"
        )
    if is_sqs and visibility_s > _SQS_MAX_S:
        raise ConflictingSettings(
            f"visibility_timeout={visibility_s!r} in broker_transport_options is above "
            f"the {_SQS_MAX_S} seconds that SQS accepts; lower it, and shorten the "
            "tasks and countdowns that need it"
        )


def _durations(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield each setting and option that can delay an acknowledgement, with seconds."""
    for name in ("task_time_limit", "task_soft_time_limit"):
        if _is_number(values.get(name)):
            yield name, values[name]
    for place, options in task_options(values):
        for name in _DURATION_OPTIONS:
            if _is_number(options.get(name)):
                yield f"{place}[{name!r}]", options[name]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
