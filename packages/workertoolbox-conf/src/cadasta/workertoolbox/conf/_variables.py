"""The variables that belong to the toolbox, beside Celery's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.app.defaults import NAMESPACES, Option, flatten

from cadasta.workertoolbox.conf._errors import InvalidValue, UnknownSetting
from cadasta.workertoolbox.conf._spelling import likeness, nearest

#: What the result-backend URL is rendered from, with PostgreSQL's own port.
RESULT_DB = {
    "RESULT_DB_USER": Option("worker", type="string"),
    "RESULT_DB_PASS": Option("", type="string"),
    "RESULT_DB_HOST": Option("localhost", type="string"),
    "RESULT_DB_PORT": Option(5432, type="int"),
    "RESULT_DB_NAME": Option("workers", type="string"),
}

#: The variables that an environment can give; Celery describes its settings so too.
VARIABLES = {
    "QUEUES": Option(type="list"),
    "PLATFORM_QUEUE_NAME": Option(type="string"),
    "QUEUE_PREFIX": Option(type="string"),
    "COPY_FAILURE": Option(type="string"),
    **RESULT_DB,
    "CHORD_UNLOCK_MAX_RETRIES": Option(type="int"),
    "REDACT": Option(type="dict"),
    "MAX_ARGUMENT_BYTES": Option(type="int"),
}

#: Celery's settings, in lowercase, and the one of routing's that looks like them.
SETTINGS: dict[str, Option] = {
    **dict(flatten(NAMESPACES)),
    "queue_type": Option(type="string"),
}

#: How alike an unknown setting and one of Celery's are when it is taken for a slip of
#: the pen, and not for a setting of some extension: `task_qeues` has 0.95.
_SLIP = 0.9


def check_names(names: Mapping[str, object]) -> None:
    """Refuse keywords that would be ignored in silence.

    Raises:
        UnknownSetting: An uppercase name that is none of the toolbox's, or a lowercase
            one that is nearly one of Celery's.
    """
    for name in names:
        if name in VARIABLES or name in SETTINGS:
            continue
        known = nearest(name, [*SETTINGS, *VARIABLES, "ENV_PREFIX"])
        if not name.islower() or likeness(name, known) >= _SLIP:
            raise UnknownSetting(
                f"{name!r} is no variable of the toolbox and no setting of Celery's; "
                f"did you mean {known!r}?"
            )


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values of the toolbox's variables that would fail later, and obscurely.

    Raises:
        InvalidValue: A part of the database URL that is neither string nor integer, a
            port without a number, or a number of retries or bytes that is none.
    """
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


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
