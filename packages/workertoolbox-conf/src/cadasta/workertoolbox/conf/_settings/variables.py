"""The variables of the toolbox: their types, defaults, checks and meanings.

The checks of `Config`, the parsing of the environment and the table in the README use
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from cadasta.workertoolbox.conf._logging.formatters import FORMATTERS
from cadasta.workertoolbox.results import (
    DURATION_FORM,
    Redaction,
    Retention,
    parse_duration,
)
from cadasta.workertoolbox.routing import MONITOR_QUEUE

#: Returns what is wrong with a value and what to write instead, or None. It may also
#: raise an error of another package.
Check = Callable[[Any], str | None]


def _is_integer(value: object, *, minimum: float = -inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _url_part_problem(value: object) -> str | None:
    if isinstance(value, str) or _is_integer(value):
        return None
    return "is neither a string nor an integer; leave it out for the default"


def _port_problem(value: object) -> str | None:
    if _url_part_problem(value) is None and str(value).isdecimal():
        return None
    return "is not a port; write its number, as in 5432"


def _retries_problem(value: object) -> str | None:
    if value is None or _is_integer(value, minimum=0):
        return None
    return "is not a number of retries; write 0 or more, or leave it out for no limit"


def _bytes_problem(value: object) -> str | None:
    if value is None or _is_integer(value, minimum=1):
        return None
    return "is not a number of bytes; write 1 or more, or leave it out for the default"


def _duration_problem(value: object) -> str | None:
    if value is None:
        return None
    try:
        parse_duration(str(value))
    except ValueError:
        return f"is not a duration; write {DURATION_FORM}"
    return None if isinstance(value, str) else "is not a string; write it in quotes"


def _log_format_problem(value: object) -> str | None:
    if value in (None, *FORMATTERS):
        return None
    known = " or ".join(map(repr, FORMATTERS))
    return f"is unknown; write {known}, or leave it out for Celery's own format"


def _flag_problem(value: object) -> str | None:
    return None if isinstance(value, bool) else "is neither True nor False"


def _sentry_problem(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    return (
        "is neither True nor False; put the DSN into the environment variable "
        "SENTRY_DSN"
    )


def _error_group_problem(value: object) -> str | None:
    if value is None or callable(value) or (isinstance(value, str) and "." in value):
        return None
    return (
        "is neither a function nor the path of one; write the path with its module, as "
        "in 'export.errors.group', or leave it out"
    )


def _redaction_problem(value: Any) -> None:
    Redaction(value)


def _retention_problem(value: Any) -> None:
    Retention(value)


def _result_redaction_problem(value: Any) -> None:
    Redaction(result_rules=value)


@dataclass(frozen=True)
class Variable:
    """A variable of the toolbox.

    Attributes:
        name: The keyword of `Config`.
        type: How the environment's text is parsed: a key of `parsing.PARSERS`.
        default: The value if neither a keyword nor the environment gives one. None may
            mean that another package has the default.
        check: Returns what is wrong with a value, in words that follow the name and
            the value in an error. None if another package, or a later step of
            `Config`, checks the value.
        meaning: The meaning in the table of the README, as Markdown.
        is_secret: Whether errors mask the value.
    """

    name: str
    type: str
    default: Any
    check: Check | None
    meaning: str
    is_secret: bool = False


#: Variables that routing takes and checks.
_ROUTING_VARIABLES = (
    Variable(
        "QUEUES",
        "list",
        None,
        None,
        "the work queues; the argument `queues` under its older name",
    ),
    Variable(
        "PLATFORM_QUEUE_NAME",
        "string",
        MONITOR_QUEUE,
        None,
        "name of the task-monitor queue",
    ),
    Variable(
        "QUEUE_PREFIX",
        "string",
        "dev",
        None,
        "put before each queue's name on SQS, with a hyphen between them",
    ),
    Variable(
        "COPY_FAILURE",
        "string",
        "log",
        None,
        "if a task was sent but its copy cannot be: `log` an error, or `raise` one",
    ),
    Variable(
        "UNKNOWN_PREFIX",
        "string",
        "default",
        None,
        "a task such as `mail.send` if no queue is named `mail`: it goes to the "
        "`default` queue, `celery`; or `refuse` it",
    ),
)

#: Variables from which the result-backend URL is rendered.
DATABASE_VARIABLES = (
    Variable(
        "RESULT_DB_USER",
        "string",
        "worker",
        _url_part_problem,
        "database user of the result backend",
    ),
    Variable(
        "RESULT_DB_PASS",
        "string",
        "",
        _url_part_problem,
        "password of that user",
        is_secret=True,
    ),
    Variable(
        "RESULT_DB_HOST",
        "string",
        "localhost",
        _url_part_problem,
        "host of the PostgreSQL server",
    ),
    Variable("RESULT_DB_PORT", "int", 5432, _port_problem, "port of the server"),
    Variable(
        "RESULT_DB_NAME", "string", "workers", _url_part_problem, "database on it"
    ),
)

#: Variables that results and conf use.
_OTHER_VARIABLES = (
    Variable(
        "PREDEFINED_QUEUES",
        "any",
        None,
        None,
        "SQS queues that were created elsewhere: one line `name=url` for each, or a "
        "JSON object of names and URLs",
    ),
    Variable(
        "REDACT",
        "dict",
        {},
        _redaction_problem,
        "which task arguments are hidden besides passwords and the like: see results",
    ),
    Variable(
        "REDACT_RESULTS",
        "dict",
        {},
        _result_redaction_problem,
        "what is hidden of results and errors: see results",
    ),
    Variable(
        "ERROR_GROUP",
        "string",
        None,
        _error_group_problem,
        "a function, or its dotted path, that takes an exception and the name of a "
        "task, and returns the key of the error's group: see results",
    ),
    Variable(
        "MAX_ARGUMENT_BYTES",
        "int",
        None,
        _bytes_problem,
        "how many bytes of a task's `args`, and of its `kwargs`, are stored; 65,536 by "
        "default: see results",
    ),
    Variable(
        "MAX_HISTORY_RESULT_BYTES",
        "int",
        None,
        _bytes_problem,
        "the size in bytes up to which the history keeps a result whole, so that "
        "`AsyncResult` finds it after `result_expires`; 65,536 by default: see results",
    ),
    Variable(
        "ARCHIVE_AFTER",
        "string",
        None,
        _duration_problem,
        "how long after its end a task moves to the history, as in `30s`; `60s` by "
        "default: see results",
    ),
    Variable(
        "LOST_AFTER",
        "string",
        None,
        _duration_problem,
        "how long after its start a task without a time limit is `LOST` if its worker "
        "has died, as in `2h`; `6h` by default: see results",
    ),
    Variable(
        "RETENTION",
        "dict",
        {},
        _retention_problem,
        "how long the history keeps tasks, by status and name, as in "
        '`{"default": "90d", "FAILURE": "365d"}`; by default it keeps everything: '
        "see results",
    ),
    Variable(
        "RESULT_DB_REQUIRED",
        "bool",
        False,
        _flag_problem,
        "whether a worker ends if it cannot use the database when it starts; by "
        "default it logs a line and runs tasks",
    ),
    Variable(
        "LOG_FORMAT",
        "string",
        None,
        _log_format_problem,
        "`json` or `plain`: workers and beat write the ids of the task on each line of "
        "the log; by default they log as Celery does",
    ),
    Variable(
        "SENTRY",
        "bool",
        True,
        _sentry_problem,
        "whether workers and beat send errors to Sentry, if `SENTRY_DSN` is set and "
        "the SDK is installed",
    ),
    Variable(
        "CHORD_UNLOCK_MAX_RETRIES",
        "int",
        None,
        _retries_problem,
        "how often at most `celery.chord_unlock` checks whether the header of a chord "
        "has ended; no limit by default",
    ),
)

#: The variables that a keyword or the environment can give, by name.
VARIABLES = {
    variable.name: variable
    for variable in (*_ROUTING_VARIABLES, *DATABASE_VARIABLES, *_OTHER_VARIABLES)
}

#: Names of the variables that routing does not take.
NOT_FOR_ROUTING = tuple(
    variable.name for variable in (*DATABASE_VARIABLES, *_OTHER_VARIABLES)
)

#: The default of each variable, by name.
VARIABLE_DEFAULTS = {name: variable.default for name, variable in VARIABLES.items()}

#: A setting of routing that is written in lowercase, like Celery's.
QUEUE_TYPE = Variable(
    "queue_type",
    "string",
    None,
    None,
    "`quorum` for RabbitMQ's quorum queues, or `classic`; in lowercase, like Celery's "
    "settings",
)

#: The argument of `Config.embedded`; it is not a setting.
FOLDER = Variable(
    "folder",
    "string",
    ".workertoolbox",
    None,
    "argument of `Config.embedded`: the folder of messages and results",
)

#: The argument with the prefix of the environment variables; a keyword only.
ENV_PREFIX = Variable(
    "ENV_PREFIX",
    "string",
    "WORKERTOOLBOX",
    None,
    "prefix of the environment variables; a keyword only",
)
