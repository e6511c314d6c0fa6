"""What the headers of a message say about its sender, and the headers of users."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._arguments.known_secrets import KnownSecrets
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import truncate
from cadasta.workertoolbox.results._headers import (
    BEAT,
    PUBLISHED_AT,
    RESULTS_ELSEWHERE,
    SERVICE,
    SERVICE_VERSION,
)
from cadasta.workertoolbox.results._monitor.header_values import short_text
from cadasta.workertoolbox.results._monitor.stored_arguments import is_kept_exactly

#: Maximum size in bytes, as JSON, of the headers of users that are stored.
MAX_HEADERS_BYTES = 4096

#: Maximum number of headers of users that are stored.
MAX_HEADERS = 100

#: Maximum length in characters of a version. With the longest name of a service, it
#: fits into an index.
MAX_VERSION_LENGTH = 100

#: Header with the name of the entry, which django-celery-beat adds itself.
_ENTRY_OF_DJANGO = "periodic_task_name"

#: Headers that Celery, kombu and the toolbox write into each task message, those with
#: which beat marks its messages, and those of libraries that trace requests.
_KNOWN = frozenset(
    "lang task id shadow eta expires group group_index retries timelimit root_id "
    "parent_id argsrepr kwargsrepr origin ignore_result replaced_task_nesting "
    "stamped_headers stamps compression properties hostname delivery_info reply_to "
    "correlation_id redelivered celery_beat_task baggage traceparent tracestate".split()
) | {
    *(_ENTRY_OF_DJANGO, BEAT, PUBLISHED_AT, RESULTS_ELSEWHERE),
    *(SERVICE, SERVICE_VERSION),
}

#: Prefixes of the headers that the toolbox, RabbitMQ and such libraries add.
_PREFIXES = (
    *("workertoolbox_", "x-death", "x-first-death-", "x-last-death-", "x-opt-"),
    *("x-delivery-count", "x-acquired-count", "sentry-", "x-datadog-", "__"),
)


class OwnHeaders(NamedTuple):
    """The headers and stamps that a user has added.

    Attributes:
        shown: Their values as they are stored; None without any.
        stamps: The names of those that are stamps.
        is_whole: Whether the stored values equal those of the message.
    """

    shown: dict[str, Any] | None = None
    stamps: tuple[str, ...] = ()
    is_whole: bool = True


def find_service(headers: Mapping[str, Any]) -> str | None:
    """Return the name of the service that published the task first, or None."""
    return short_text(headers.get(SERVICE))


def find_version(headers: Mapping[str, Any]) -> str | None:
    """Return the version of the service that published the task first, or None."""
    version = short_text(headers.get(SERVICE_VERSION))
    return version and version[:MAX_VERSION_LENGTH]


def find_results_elsewhere(headers: Mapping[str, Any]) -> str | None:
    """Return the kind of result backend that its results go to, or None."""
    return short_text(headers.get(RESULTS_ELSEWHERE))


def find_entry(headers: Mapping[str, Any]) -> str | None:
    """Return the name of beat's entry, or None if beat has not sent the message.

    A task that passes its own headers on to another one does not make that task one of
    beat's. django-celery-beat names its entries itself, also with an earlier release of
    workertoolbox-routing.
    """
    if (described := headers.get(BEAT)) is not None:
        match described:
            case {"entry": str(entry), "id": str(id)}:
                return short_text(entry) if id == headers.get("id") else None
    return short_text(headers.get(_ENTRY_OF_DJANGO))


def find_own_headers(
    name: str, headers: Mapping[str, Any], redaction: Redaction, hidden: list[Any]
) -> OwnHeaders:
    """Return the headers and stamps that a user has added.

    Of a stamp and a header of the same name, the stamp is returned. Secrets are masked,
    and large values are replaced by `<truncated: … bytes>`.

    Args:
        name: The name of the task.
        hidden: The values that were masked in the arguments.
    """
    stamps = headers.get("stamps")
    if not stamps and headers.keys() <= _KNOWN:
        return OwnHeaders()  # As most messages.
    found = {
        str(key): headers[key]
        for key in headers.keys() - _KNOWN
        if not (isinstance(key, str) and key.startswith(_PREFIXES))
    }
    stamped = {}
    if isinstance(stamps, Mapping):
        stamped = {str(key): value for key, value in stamps.items()}
    found |= stamped
    if not found:
        return OwnHeaders()
    kept = {key: _jsonable(found[key]) for key in sorted(found)[:MAX_HEADERS]}
    # Large values are replaced as a whole, so that no secret is cut in two.
    short = truncate(jsonable(kept), MAX_HEADERS_BYTES)
    secrets = [*hidden]
    masked = redaction.masking(name, secrets).mask(short)
    shown: dict[str, Any] = KnownSecrets.of(secrets).mask(masked)
    names = tuple(sorted(shown.keys() & stamped.keys()))
    return OwnHeaders(shown, names, _is_same(shown, found))


def _is_same(shown: Any, found: Any) -> bool:
    """Return whether headers are stored as they are in the message."""
    try:
        encoded = json.dumps(found, sort_keys=True)
        return json.dumps(shown, sort_keys=True) == encoded and is_kept_exactly(
            encoded, shown
        )
    except (TypeError, ValueError, RecursionError):
        return False  # Brokers can carry values that JSON cannot.


def _jsonable(value: Any) -> Any:
    try:
        return jsonable(value)
    except (ValueError, RecursionError):
        return "<nested too deep>"
