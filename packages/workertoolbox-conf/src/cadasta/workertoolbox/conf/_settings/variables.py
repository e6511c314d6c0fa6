"""The variables that belong to the toolbox, beside Celery's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cadasta.workertoolbox.routing import MONITOR

#: What the names of the variables in the environment begin with, unless `ENV_PREFIX`
#: says otherwise.
PREFIX = "WORKERTOOLBOX"


@dataclass(frozen=True)
class Variable:
    """A variable, as Celery describes its settings, and what it means.

    Attributes:
        type: What an environment variable is read as: see `_readers.py`.
        meaning: A phrase for the table in the README.
        default: What holds where it is not given; None where it has no default, or
            one that is not conf's.
    """

    type: str
    meaning: str
    default: Any = None


#: What the result-backend URL is rendered from, with PostgreSQL's own port.
RESULT_DB = {
    "RESULT_DB_USER": Variable("string", "who writes results", "worker"),
    "RESULT_DB_PASS": Variable("string", "the user's password", ""),
    "RESULT_DB_HOST": Variable("string", "the PostgreSQL server", "localhost"),
    "RESULT_DB_PORT": Variable("int", "its port", 5432),
    "RESULT_DB_NAME": Variable("string", "its database", "workers"),
}

#: The variables that a keyword or the environment can give.
VARIABLES = {
    "QUEUES": Variable(
        "list", "the work queues; the argument `queues` under its older name"
    ),
    "PLATFORM_QUEUE_NAME": Variable("string", "the task-monitor queue", MONITOR),
    "QUEUE_PREFIX": Variable(
        "string", "before each queue's name on SQS, with a hyphen between", "dev"
    ),
    "COPY_FAILURE": Variable(
        "string",
        "when a task went out and its copy cannot: `log` an error, or `raise` one",
        "log",
    ),
    "PREDEFINED_QUEUES": Variable(
        "any",
        "queues of SQS that were made elsewhere: a line `name=url` for each, or a JSON "
        "object of names and URLs",
    ),
    **RESULT_DB,
    "REDACT": Variable(
        "dict",
        "what is hidden of tasks' arguments, beside passwords and the like: see "
        "results",
        {},
    ),
    "MAX_ARGUMENT_BYTES": Variable(
        "int",
        "how much is stored of a task's `args`, and of its `kwargs`; 65,536 where it "
        "is not given: see results",
    ),
    "LOG_FORMAT": Variable(
        "string",
        "how workers and beat log, with the ids of the task on each line: `json` or "
        "`plain`; as Celery does where it is not given",
    ),
    "SENTRY": Variable(
        "bool",
        "whether workers and beat send errors to Sentry where `SENTRY_DSN` is in the "
        "environment and its SDK is installed",
        True,
    ),
    "CHORD_UNLOCK_MAX_RETRIES": Variable(
        "int",
        "how often `celery.chord_unlock` looks for the end of a chord; without bound "
        "where it is not given",
    ),
}

#: The setting of routing's that looks like one of Celery's.
ROUTINGS = {
    "queue_type": Variable(
        "string",
        "`quorum` for RabbitMQ's quorum queues, or `classic`; a keyword in lowercase, "
        "like Celery's",
    ),
}

#: Arguments that are no settings.
ARGUMENTS = {
    "folder": Variable(
        "string",
        "of `Config.embedded`: where messages and results are",
        ".workertoolbox",
    ),
    "ENV_PREFIX": Variable(
        "string", "what names in the environment begin with; a keyword only", PREFIX
    ),
}
