"""The errors of this package. Those of queries are in `_query_errors.py`.

ResultsError
├── BrokerUnavailable (ConnectionError)
├── DatabaseUnavailable (ConnectionError)
├── ErrorGroupNotFound (LookupError)
├── FileLimitReached (OSError)
├── InvalidDuration (ValueError)
├── InvalidGrouping (ValueError)
├── InvalidLimit (ValueError)
├── InvalidRate (ValueError)
├── InvalidRedaction (ValueError)
├── InvalidRetention (ValueError)
├── InvalidTemplate (ValueError)
├── InvalidURL (ValueError)
├── InvalidWindow (ValueError)
├── MetricsUnavailable (RuntimeError)
├── MonitorQueueUnknown (LookupError)
├── NotInQuarantine (LookupError)
├── OperationNotFound (LookupError)
├── PickledResult (ValueError)
├── ResultNotStorable (ValueError)
├── ResultTooLarge (LookupError)
├── ScheduleNotFound (LookupError)
├── SchemaOutdated (RuntimeError)
├── StillPublishing (RuntimeError)
├── TaskNotFound (LookupError)
├── UnknownErrorState (ValueError)
├── UnknownStatus (ValueError)
├── UnknownValue (LookupError)
├── UnreadMessages (RuntimeError)
├── UnsupportedServer (RuntimeError)
├── UnsupportedSetting (ValueError)
├── UpgradeUnfinished (RuntimeError)
└── WebUnavailable (ImportError)
"""

from __future__ import annotations

from collections.abc import Iterable

from cadasta.workertoolbox.results._durations import DURATION_FORM

# An error with attributes passes only its arguments to `Exception`: Celery pickles
# errors and rebuilds them from `args`.


class ResultsError(Exception):
    """Base class of all errors of this package."""


class BrokerUnavailable(ResultsError, ConnectionError):
    """The broker cannot be reached or refuses the connection."""


class DatabaseUnavailable(ResultsError, ConnectionError):
    """The database cannot be reached, or refuses the connection or a statement."""


class ErrorGroupNotFound(ResultsError, LookupError):
    """There is no group of errors with this key."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return (
            f"there is no group of errors with the key {self.id!r}; `tasks errors` and "
            "`TaskStore.error_groups()` show the groups with their keys"
        )


class FileLimitReached(ResultsError, OSError):
    """A monitor cannot start, because its process may not open enough files."""

    def __init__(self, reason: str, limit: int = 0) -> None:
        super().__init__(reason, limit)
        self.reason = reason
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"the monitor cannot start: the limit of {self.limit} open files and "
            f"connections is reached ({self.reason}); raise it to 1024, with "
            "`ulimit -n 1024`, LimitNOFILE=1024 of systemd or --ulimit nofile=1024 of "
            "Docker"
        )


class InvalidDuration(ResultsError, ValueError):
    """A setting is not a duration."""

    def __init__(self, setting: str, value: object = None) -> None:
        super().__init__(setting, value)
        self.setting = setting
        self.value = value

    def __str__(self) -> str:
        return (
            f"{self.setting}={self.value!r} is not a duration; write {DURATION_FORM}, "
            "or leave it out for the default"
        )


class InvalidGrouping(ResultsError, ValueError):
    """Figures are not kept by this column."""

    def __init__(self, by: object) -> None:
        super().__init__(by)
        self.by = by

    def __str__(self) -> str:
        text = f"figures are kept by 'name' and 'queue', not by {self.by!r}"
        if self.by == "worker":
            text += (
                "; `tasks workers` shows what each worker has ended in the last ten "
                "minutes, and `tasks list --worker NAME` its tasks"
            )
        return text


class InvalidLimit(ResultsError, ValueError):
    """A setting such as `MAX_ARGUMENT_BYTES` is not a positive number of bytes."""

    def __init__(self, limit: object, setting: str = "MAX_ARGUMENT_BYTES") -> None:
        super().__init__(limit, setting)
        self.limit = limit
        self.setting = setting

    def __str__(self) -> str:
        return (
            f"{self.setting}={self.limit!r} is not a number of bytes; write an "
            "integer of at least 1, or leave it out for the default"
        )


class InvalidRate(ResultsError, ValueError):
    """A rate is not a number per second, minute or hour."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return (
            f"{self.text!r} is not a rate; write 10/s, 90/m or 5/h, and at most 10000/s"
        )


class InvalidRedaction(ResultsError, ValueError):
    """A rule in `REDACT` or `REDACT_RESULTS` is not valid."""

    def __init__(self, rule: object, setting: str = "REDACT") -> None:
        super().__init__(rule, setting)
        self.rule = rule
        self.setting = setting

    def __str__(self) -> str:
        taken = "args and kwargs and returns both"
        if self.setting != "REDACT":
            taken = "a result, or a text of an error, and returns what may be stored"
        return (
            f"{self.setting}={self.rule!r} is not a valid rule; write "
            f'{self.setting}={{"export.*": ["token", 0]}} with names or positions, or '
            f"a function that takes {taken}"
        )


class InvalidRetention(ResultsError, ValueError):
    """`RETENTION` has invalid classes or ages."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return (
            f"{'; '.join(self.problems)}; write ages by status or name, as in "
            'RETENTION={"default": "90d", "FAILURE": "365d", "export.ping": "7d"}, and '
            "None to keep tasks without limit"
        )


class InvalidTemplate(ResultsError, ValueError):
    """A URL template names an unknown variable, or its braces do not match."""


class InvalidURL(ResultsError, ValueError):
    """A URL is not that of a supported database, or its driver is not installed."""


class InvalidWindow(ResultsError, ValueError):
    """A window of figures ends before it begins, or its step is not valid."""


class MetricsUnavailable(ResultsError, RuntimeError):
    """Metrics cannot be served: the library is not installed, or the port is in use."""


class MonitorQueueUnknown(ResultsError, LookupError):
    """The app declares no task-monitor queue."""


class NotInQuarantine(ResultsError, LookupError):
    """No message in quarantine has this number."""

    def __init__(self, id: int) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return (
            f"message {self.id} is not in quarantine; "
            "`celery -A … tasks quarantine list` shows the messages that are"
        )


class OperationNotFound(ResultsError, LookupError):
    """There is no operation with this key."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return (
            f"there is no operation {self.id!r}; `celery -A … tasks operations` lists "
            "them"
        )


class PickledResult(ResultsError, ValueError):
    """A stored result is a pickle, which is never read."""

    def __str__(self) -> str:
        return (
            "the stored result is a pickle, and pickles are never loaded; delete it "
            "with `result.forget()`, or store it as JSON with the release that wrote it"
        )


class ResultNotStorable(ResultsError, ValueError):
    """The database can never store a result: it is too large, or has an invalid id."""


class ResultTooLarge(ResultsError, LookupError):
    """A result has expired, and the history has only the beginning of it."""

    def __init__(self, id: str, size: int = 0, limit: int = 0) -> None:
        super().__init__(id, size, limit)
        self.id = id
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"the result of task {self.id!r} has expired, and its {self.size} bytes "
            f"were too many for the history; for later tasks, set "
            f"MAX_HISTORY_RESULT_BYTES (now {self.limit}) of monitors higher, or "
            "result_expires longer; `celery -A … tasks show ID` shows the beginning "
            "of the result"
        )


class ScheduleNotFound(ResultsError, LookupError):
    """No message of beat has named this entry."""

    def __init__(self, entry: str) -> None:
        super().__init__(entry)
        self.entry = entry

    def __str__(self) -> str:
        return (
            f"beat's schedule has no entry {self.entry!r}; "
            "`celery -A … tasks schedules --all` shows all entries"
        )


class SchemaOutdated(ResultsError, RuntimeError):
    """The toolbox's tables are missing, or older than this release needs."""


class StillPublishing(ResultsError, RuntimeError):
    """A process began to publish a task a few seconds ago, and may still send it."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return (
            f"task {self.id} may be published by another process at this moment; end "
            "that process if it hangs, and try again in a few seconds"
        )


class TaskNotFound(ResultsError, LookupError):
    """No monitor and no worker has seen a task with this id."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return (
            f"no task with id {self.id!r} has been seen; `celery -A … tasks why ID` "
            "says what may be the cause; `celery -A … tasks list` shows the newest "
            "tasks"
        )


class UnknownErrorState(ResultsError, ValueError):
    """A filter names a state that groups of errors do not have."""

    def __init__(self, state: str, states: Iterable[str] = ()) -> None:
        super().__init__(state, tuple(states))
        self.state = state
        self.states = tuple(states)

    def __str__(self) -> str:
        return (
            f"groups of errors do not have the state {self.state!r}; the states are "
            f"{', '.join(self.states)}"
        )


class UnknownStatus(ResultsError, ValueError):
    """No task has this status."""

    def __init__(self, status: str, near: str | None = None) -> None:
        super().__init__(status, near)
        self.status = status
        self.near = near

    def __str__(self) -> str:
        hint = (
            f"did you mean {self.near!r}?"
            if self.near
            else "statuses are QUEUED, SCHEDULED, PLANNED, those of Celery, such as "
            "STARTED, SUCCESS and FAILURE, and custom states"
        )
        return f"no task has the status {self.status!r}; {hint}"


class UnknownValue(ResultsError, LookupError):
    """No task has this name, this queue or this worker."""

    def __init__(self, value: str, kind: str = "name", near: str | None = None) -> None:
        super().__init__(value, kind, near)
        self.value = value
        self.kind = kind
        self.near = near

    def __str__(self) -> str:
        hint = (
            f"did you mean {self.near!r}?"
            if self.near
            else "`celery -A … tasks list` shows the newest tasks"
        )
        return f"no task has the {self.kind} {self.value!r}; {hint}"


class UnreadMessages(ResultsError, RuntimeError):
    """It is not known yet whether a task was published, because monitors are behind."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return (
            f"task {self.id} may have been published, and the monitors have not read "
            "the messages of that time yet; try again in a few seconds, with a monitor "
            "running"
        )


class UnsupportedServer(ResultsError, RuntimeError):
    """The PostgreSQL server is older than the schema needs."""


class UnsupportedSetting(ResultsError, ValueError):
    """A setting of Celery's database backend would have no effect."""

    def __init__(self, name: str, value: object = None, advice: str = "") -> None:
        super().__init__(name, value, advice)
        self.name = name
        self.value = value
        self.advice = advice

    def __str__(self) -> str:
        return (
            f"{self.name} is not supported by the result backend workertoolbox+…; "
            f"{self.advice or 'leave it out'}"
        )


class UpgradeUnfinished(ResultsError, RuntimeError):
    """Earlier releases still need the tables that `tasks upgrade --finish` drops."""


class WebUnavailable(ResultsError, ImportError):
    """The web pages cannot be served: a package of the extra `web` is missing."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing

    def __str__(self) -> str:
        return (
            f"the web pages need the package {self.missing}, which is not installed; "
            'run pip install "workertoolbox-results[web]"'
        )
