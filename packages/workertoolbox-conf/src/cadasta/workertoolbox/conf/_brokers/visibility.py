"""How long a broker waits for an acknowledgement, and tasks take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cadasta.workertoolbox.conf._brokers.task_options import task_options
from cadasta.workertoolbox.conf._brokers.urls import scheme
from cadasta.workertoolbox.conf._errors import ConflictingSettings, InvalidValue

#: Seconds after which kombu's transports deliver a message again that is not
#: acknowledged, where `visibility_timeout` does not say otherwise.
VISIBILITY_S = {"sqs": 1_800, "redis": 3_600, "rediss": 3_600, "sentinel": 3_600}

#: Seconds that SQS lets a message be invisible at most.
_SQS_MOST_S = 43_200

#: Options of a task for how long its message may stay without an acknowledgement, in
#: seconds. A message that was fetched ahead waits for the task before it, too.
_WAITS = (
    "countdown",
    "default_retry_delay",
    "retry_backoff_max",
    "soft_time_limit",
    "time_limit",
)


def check_visibility(values: Mapping[str, Any], urls: Sequence[str]) -> None:
    """Refuse a visibility timeout below a time that a task may take or wait.

    Args:
        values: Settings, rendered.
        urls: The broker URLs that are named.

    Raises:
        ConflictingSettings: A time above it, or it is above what SQS takes.
        InvalidValue: It is no number of seconds.
    """
    options = values.get("broker_transport_options") or {}
    visibility_s = options.get("visibility_timeout")
    if visibility_s is not None and not (
        _is_seconds(visibility_s) and visibility_s > 0
    ):
        raise InvalidValue(
            f"visibility_timeout={visibility_s!r} in broker_transport_options is no "
            "number of seconds; write one, as in 3600"
        )
    is_sqs = any(scheme(url) == "sqs" for url in urls)
    if is_sqs and visibility_s is not None and visibility_s > _SQS_MOST_S:
        raise ConflictingSettings(
            f"visibility_timeout={visibility_s!r} in broker_transport_options is above "
            f"the {_SQS_MOST_S} seconds that SQS takes; lower it to them, and have "
            "tasks take and wait for less"
        )
    known = [VISIBILITY_S[scheme(url)] for url in urls if scheme(url) in VISIBILITY_S]
    if visibility_s is None:
        # Queues that were made elsewhere have what they were given there.
        if not known or options.get("predefined_queues"):
            return
        visibility_s = min(known)
    elif urls and not known:
        return
    for name, seconds in _waits(values):
        if seconds > visibility_s:
            raise ConflictingSettings(
                f"{name}={seconds!r} is above the {visibility_s} seconds of the "
                "visibility timeout, after which the broker delivers a message again "
                "that is not acknowledged: a task may run twice; set "
                'broker_transport_options={"visibility_timeout": …} to '
                f"{seconds} or more, or lower {name}"
            )


def _waits(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name in ("task_time_limit", "task_soft_time_limit"):
        if _is_seconds(values.get(name)):
            yield name, values[name]
    for place, options in task_options(values):
        for name in _WAITS:
            if _is_seconds(options.get(name)):
                yield f"{place}[{name!r}]", options[name]


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
