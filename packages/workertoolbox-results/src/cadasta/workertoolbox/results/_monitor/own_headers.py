"""What the headers of a message say about its sender, and the headers of users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.results._arguments.jsonable import (
    MAX_NAME_LENGTH,
    jsonable,
    jsonable_text,
)
from cadasta.workertoolbox.results._arguments.known_secrets import KnownSecrets
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import truncate
from cadasta.workertoolbox.results._headers import BEAT, PUBLISHED_AT, SERVICE

#: Maximum size in bytes, as JSON, of the headers of users that are stored.
MAX_HEADERS_BYTES = 4096

#: Maximum number of headers of users that are stored.
MAX_HEADERS = 100

#: Header with the name of the entry, which django-celery-beat adds itself.
_ENTRY_OF_DJANGO = "periodic_task_name"

#: Headers that Celery, kombu and the toolbox write into each task message, those with
#: which beat marks its messages, and those of libraries that trace requests.
_KNOWN = frozenset(
    "lang task id shadow eta expires group group_index retries timelimit root_id "
    "parent_id argsrepr kwargsrepr origin ignore_result replaced_task_nesting "
    "stamped_headers stamps compression properties hostname delivery_info reply_to "
    "correlation_id redelivered celery_beat_task baggage traceparent tracestate".split()
) | {_ENTRY_OF_DJANGO, BEAT, PUBLISHED_AT, SERVICE}

#: Prefixes of the headers that the toolbox, RabbitMQ and such libraries add.
_PREFIXES = (
    *("workertoolbox_", "x-death", "x-first-death-", "x-last-death-", "x-opt-"),
    *("x-delivery-count", "x-acquired-count", "sentry-", "x-datadog-", "__"),
)


def find_service(headers: Mapping[str, Any]) -> str | None:
    """Return the name of the service that published the task first, or None."""
    return _short_text(headers.get(SERVICE))


def find_entry(headers: Mapping[str, Any]) -> str | None:
    """Return the name of beat's entry, or None if beat has not sent the message.

    A task that passes its own headers on to another one does not make that task one of
    beat's. django-celery-beat names its entries itself, also with an earlier release of
    workertoolbox-routing.
    """
    if (described := headers.get(BEAT)) is not None:
        match described:
            case {"entry": str(entry), "id": str(id)}:
                return _short_text(entry) if id == headers.get("id") else None
    return _short_text(headers.get(_ENTRY_OF_DJANGO))


def find_own_headers(
    name: str, headers: Mapping[str, Any], redaction: Redaction, hidden: list[Any]
) -> dict[str, Any] | None:
    """Return the headers and stamps that a user has added, or None without any.

    Of a stamp and a header of the same name, the stamp is returned. Secrets are masked,
    and large values are replaced by `<truncated: … bytes>`.

    Args:
        name: The name of the task.
        hidden: The values that were masked in the arguments.
    """
    stamps = headers.get("stamps")
    if not stamps and headers.keys() <= _KNOWN:
        return None  # As most messages.
    found = {
        str(key): headers[key]
        for key in headers.keys() - _KNOWN
        if not (isinstance(key, str) and key.startswith(_PREFIXES))
    }
    if isinstance(stamps, Mapping):
        found |= {str(key): value for key, value in stamps.items()}
    if not found:
        return None
    kept = {key: _jsonable(found[key]) for key in sorted(found)[:MAX_HEADERS]}
    # Large values are replaced as a whole, so that no secret is cut in two.
    short = truncate(jsonable(kept), MAX_HEADERS_BYTES)
    secrets = [*hidden]
    masked = redaction.masking(name, secrets).mask(short)
    shown: dict[str, Any] = KnownSecrets.of(secrets).mask(masked)
    return shown


def _jsonable(value: Any) -> Any:
    try:
        return jsonable(value)
    except (ValueError, RecursionError):
        return "<nested too deep>"


def _short_text(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return jsonable_text(value)[:MAX_NAME_LENGTH]
