"""What can go wrong with results.

ResultsError
├── BrokerUnavailable (ConnectionError)
├── DatabaseUnavailable (ConnectionError)
├── InvalidLimit (ValueError)
├── InvalidRedaction (ValueError)
├── InvalidTemplate (ValueError)
├── InvalidURL (ValueError)
├── MetricsUnavailable (RuntimeError)
├── MonitorQueueUnknown (LookupError)
├── NotInQuarantine (LookupError)
├── PickledResult (ValueError)
├── SchemaOutdated (RuntimeError)
├── TaskNotFound (LookupError)
└── UnknownStatus (ValueError)
"""

from __future__ import annotations


class ResultsError(Exception):
    """The root of every error of this package."""


class BrokerUnavailable(ResultsError, ConnectionError):
    """The broker cannot be reached."""


class DatabaseUnavailable(ResultsError, ConnectionError):
    """The database cannot be reached, or refuses us."""


class InvalidLimit(ResultsError, ValueError):
    """`MAX_ARGUMENT_BYTES` is no number of bytes."""

    def __init__(self, limit: object) -> None:
        # Only the arguments: Celery pickles errors and rebuilds them from `args`.
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"MAX_ARGUMENT_BYTES={self.limit!r} is no number of bytes; write 1 or "
            "more, or leave it out for the default"
        )


class InvalidRedaction(ResultsError, ValueError):
    """A rule of `REDACT` cannot be understood."""

    def __init__(self, rule: object) -> None:
        # Only the arguments: Celery pickles errors and rebuilds them from `args`.
        super().__init__(rule)
        self.rule = rule

    def __str__(self) -> str:
        return (
            f"REDACT={self.rule!r} is no rule; write "
            'REDACT={"export.*": ["token", 0]} with names or positions of arguments, '
            "or a function that takes args and kwargs and returns both"
        )


class InvalidTemplate(ResultsError, ValueError):
    """A URL template names an unknown variable, or its braces do not match."""


class InvalidURL(ResultsError, ValueError):
    """A URL does not name a SQL database."""


class MetricsUnavailable(ResultsError, RuntimeError):
    """Nothing can be served to Prometheus: no library, or no port."""


class MonitorQueueUnknown(ResultsError, LookupError):
    """The app declares no task-monitor queue."""


class NotInQuarantine(ResultsError, LookupError):
    """No message in quarantine has this number."""

    def __init__(self, id: int) -> None:
        # Only the arguments: Celery pickles errors and rebuilds them from `args`.
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return (
            f"no message {self.id} is in quarantine; "
            "`celery -A … tasks quarantine list` shows those that are"
        )


class PickledResult(ResultsError, ValueError):
    """A stored result is a pickle, which nothing here reads."""

    def __str__(self) -> str:
        return (
            "the stored result is a pickle, and pickles are not read; delete it by "
            "`result.forget()`, or store it as JSON with the release that wrote it"
        )


class SchemaOutdated(ResultsError, RuntimeError):
    """The database has no tables of ours, or older ones than this code needs."""


class TaskNotFound(ResultsError, LookupError):
    """Nobody has ever seen a task of this id."""

    def __init__(self, id: str) -> None:
        # Only the arguments: Celery pickles errors and rebuilds them from `args`.
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return (
            f"no task with id {self.id!r} has been seen; "
            "`celery -A … tasks list` shows those that have"
        )


class UnknownStatus(ResultsError, ValueError):
    """No task has this status, and its name resembles one that tasks have."""
