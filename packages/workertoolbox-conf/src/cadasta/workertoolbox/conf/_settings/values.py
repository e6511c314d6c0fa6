"""Values that can be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.utils.functional import maybe_list

from cadasta.workertoolbox.conf._errors import InvalidValue
from cadasta.workertoolbox.conf._logging.setup import FORMATTERS
from cadasta.workertoolbox.conf._settings.celery import SETTINGS
from cadasta.workertoolbox.conf._settings.variables import RESULT_DB

#: What to write for a setting of Celery's, by its type, instead of a text.
_NO_TEXTS = {
    "bool": "True or False",
    "int": "a number, as in 10",
    "float": "a number, as in 10",
    "seconds": "seconds, as in 30",
    "duration": "seconds, as in 0.5, or a timedelta",
}


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values that would fail later, and obscurely.

    Raises:
        InvalidValue: A part of the database URL that is neither string nor integer, a
            port without a number, a number of retries or bytes that is none, a format
            of logs that is unknown, a switch that is no boolean, a broker URL that is
            no string, transport options that are no dictionary, or a text for a number
            or a boolean of Celery's.
    """
    for name, value in values.items():
        wanted = _NO_TEXTS.get(str(SETTINGS[name].type)) if name in SETTINGS else None
        if wanted and isinstance(value, str):
            raise InvalidValue(f"{name}={value!r} is a text; write {wanted}")
    options = values.get("broker_transport_options")
    if not isinstance(options, Mapping | None):
        # Not its value, which may be secret.
        raise InvalidValue(
            f"broker_transport_options is a {type(options).__name__}; write a "
            'dictionary, as in {"region": "us-west-2"}'
        )
    for name in ("broker_url", "broker_read_url", "broker_write_url"):
        urls = maybe_list(values.get(name)) or ()
        if not all(isinstance(url, str) for url in urls):
            raise InvalidValue(
                f"{name} is no string and no list of strings; write a URL, as in "
                "'amqp://localhost//', or several for failover"
            )
    for name in RESULT_DB:
        if not isinstance(values[name], str) and not _is_number(values[name]):
            shown = "********" if values[name] and "PASS" in name else values[name]
            raise InvalidValue(
                f"{name}={shown!r} is neither a string nor an integer; "
                f"leave it out for the default, {RESULT_DB[name].default!r}"
            )
    port = str(values["RESULT_DB_PORT"])
    if not port.isdecimal():
        raise InvalidValue(
            f"RESULT_DB_PORT={port!r} is no port; write its number, as in 5432"
        )
    retries = values.get("CHORD_UNLOCK_MAX_RETRIES")
    if retries is not None and not (_is_number(retries) and retries >= 0):
        raise InvalidValue(
            f"CHORD_UNLOCK_MAX_RETRIES={retries!r} is no number of retries; write 0 or "
            "more, or leave it out for no bound"
        )
    limit = values.get("MAX_ARGUMENT_BYTES")
    if limit is not None and not (_is_number(limit) and limit >= 1):
        raise InvalidValue(
            f"MAX_ARGUMENT_BYTES={limit!r} is no number of bytes; write 1 or more, or "
            "leave it out for the default of results"
        )
    if (log_format := values.get("LOG_FORMAT")) not in (None, *FORMATTERS):
        known = " or ".join(map(repr, FORMATTERS))
        raise InvalidValue(
            f"LOG_FORMAT={log_format!r} is unknown; write {known}, or leave it out for "
            "Celery's own format"
        )
    if not isinstance(sentry := values["SENTRY"], bool):
        raise InvalidValue(
            f"SENTRY={sentry!r} is neither True nor False; the DSN belongs into the "
            "environment, as SENTRY_DSN"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
