"""The variables of the toolbox: their types, defaults, checks and meanings.

The checks of `Config`, the parsing of the environment and the table in the README use
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cadasta.workertoolbox.conf._settings.checks import (
    Check,
    find_bytes_problem,
    find_duration_problem,
    find_error_group_problem,
    find_flag_problem,
    find_log_format_problem,
    find_port_problem,
    find_redaction_problem,
    find_result_redaction_problem,
    find_retention_problem,
    find_retries_problem,
    find_sentry_problem,
    find_url_part_problem,
)
from cadasta.workertoolbox.routing import MONITOR_QUEUE


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
        "the work queues, names or `Queue` objects; the argument `queues` under its "
        "older name",
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
    Variable(
        "SERVICE_VERSION",
        "string",
        None,
        None,
        "version of the service, such as `1.4.0` or a commit: charts mark when it was "
        "first seen",
    ),
)

#: Variables from which the result-backend URL is rendered.
DATABASE_VARIABLES = (
    Variable(
        "RESULT_DB_USER",
        "string",
        "worker",
        find_url_part_problem,
        "database user of the result backend",
    ),
    Variable(
        "RESULT_DB_PASS",
        "string",
        "",
        find_url_part_problem,
        "password of that user",
        is_secret=True,
    ),
    Variable(
        "RESULT_DB_HOST",
        "string",
        "localhost",
        find_url_part_problem,
        "host of the PostgreSQL server",
    ),
    Variable("RESULT_DB_PORT", "int", 5432, find_port_problem, "port of the server"),
    Variable(
        "RESULT_DB_NAME", "string", "workers", find_url_part_problem, "database on it"
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
        find_redaction_problem,
        "which task arguments are hidden besides passwords and the like: see results",
    ),
    Variable(
        "REDACT_RESULTS",
        "dict",
        {},
        find_result_redaction_problem,
        "what is hidden of results and errors: see results",
    ),
    Variable(
        "ERROR_GROUP",
        "string",
        None,
        find_error_group_problem,
        "a function, or its dotted path, that takes an exception and the name of a "
        "task, and returns the key of the error's group: see results",
    ),
    Variable(
        "MAX_ARGUMENT_BYTES",
        "int",
        None,
        find_bytes_problem,
        "how many bytes of a task's `args`, and of its `kwargs`, are stored; 65,536 by "
        "default: see results",
    ),
    Variable(
        "MAX_HISTORY_RESULT_BYTES",
        "int",
        None,
        find_bytes_problem,
        "the size in bytes up to which the history keeps a result whole, so that "
        "`AsyncResult` finds it after `result_expires`; 65,536 by default: see results",
    ),
    Variable(
        "ARCHIVE_AFTER",
        "string",
        None,
        find_duration_problem,
        "how long after its end a task moves to the history, as in `30s`; `60s` by "
        "default: see results",
    ),
    Variable(
        "LOST_AFTER",
        "string",
        None,
        find_duration_problem,
        "how long after its start a task without a time limit is `LOST` if its worker "
        "has died, as in `2h`; `6h` by default: see results",
    ),
    Variable(
        "RETENTION",
        "dict",
        {},
        find_retention_problem,
        "how long the history keeps tasks, by status and name, as in "
        '`{"default": "90d", "FAILURE": "365d"}`; by default it keeps everything: '
        "see results",
    ),
    Variable(
        "RESULT_DB_REQUIRED",
        "bool",
        False,
        find_flag_problem,
        "whether a worker ends if it cannot use the database when it starts; by "
        "default it logs a line and runs tasks",
    ),
    Variable(
        "LOG_FORMAT",
        "string",
        None,
        find_log_format_problem,
        "`json` or `plain`: workers and beat write the ids of the task on each line of "
        "the log; by default they log as Celery does",
    ),
    Variable(
        "SENTRY",
        "bool",
        True,
        find_sentry_problem,
        "whether workers and beat send errors to Sentry, if `SENTRY_DSN` is set and "
        "the SDK is installed",
    ),
    Variable(
        "CHORD_UNLOCK_MAX_RETRIES",
        "int",
        None,
        find_retries_problem,
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
