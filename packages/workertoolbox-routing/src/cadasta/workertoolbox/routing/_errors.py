"""Errors of this package.

RoutingError
├── BrokerRefused (RuntimeError)
├── CopyFailed (RuntimeError)
├── FrozenSettings (AttributeError, TypeError)
├── InvalidID (ValueError)
├── InvalidQueues (ValueError)
├── InvalidSetting (ValueError)
├── MissingExtra (ImportError)
├── InvalidVariable (ValueError)
├── NoResultBackend (NotImplementedError)
├── NotJSON (ValueError)
├── PublishRefused (RuntimeError)
├── PublishUnconfirmed (RuntimeError)
├── RemoteControlUnavailable (NotImplementedError)
├── UndeclaredQueues (LookupError)
├── UnknownPrefix (LookupError)
├── UnknownQueue (LookupError)
├── Unroutable (LookupError)
└── UntrackedExchange (ValueError)
"""

from __future__ import annotations


class RoutingError(Exception):
    """Base of every error of this package."""


class BrokerRefused(RoutingError, RuntimeError):
    """The broker refuses this service, and would refuse it again."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"broker {self.url} refuses this service: {self.reason}; check the user, "
            "the password and the database or virtual host in broker_url"
        )


class CopyFailed(RoutingError, RuntimeError):
    """A task was sent, but its copy for the monitor was not."""

    def __init__(self, queue: str, id: str, reason: str) -> None:
        # Only the arguments: Celery pickles errors and rebuilds them from `args`.
        super().__init__(queue, id, reason)
        self.queue = queue
        self.id = id
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"task {self.id} was sent, but its copy for queue {self.queue!r} was not: "
            f"{self.reason}; the database will not show the task until it has a result"
        )


class FrozenSettings(RoutingError, AttributeError, TypeError):
    """Settings, or a dictionary or list in them, cannot be changed."""


class InvalidID(RoutingError, ValueError):
    """The id of a task or a group cannot be stored."""

    def __init__(self, option: str, value: str, problem: str) -> None:
        super().__init__(option, value, problem)
        self.option = option
        self.value = value
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.option}={self.value} {self.problem}"


class InvalidQueues(RoutingError, ValueError):
    """The list of queues or a queue name is not valid."""


class InvalidSetting(RoutingError, ValueError):
    """The name or the value of a setting is not valid."""


class MissingExtra(RoutingError, ImportError):
    """A library that an extra of this package installs is missing."""

    def __init__(self, requirement: str, reason: str, url: str | None = None) -> None:
        super().__init__(requirement, reason, url)
        self.requirement = requirement
        self.reason = reason
        self.url = url

    @property
    def advice(self) -> str:
        """What to do."""
        url = f", and write {self.url}" if self.url else ""
        return f'run pip install "{self.requirement}"{url}'

    def __str__(self) -> str:
        return (
            f"the client of the broker cannot be loaded: {self.reason}; {self.advice}"
        )


class InvalidVariable(RoutingError, ValueError):
    """A variable of the environment is not a setting, or its value is not valid."""


class NoResultBackend(RoutingError, NotImplementedError):
    """Something needs a result backend, but the service has none."""

    def __init__(self, purpose: str) -> None:
        super().__init__(purpose)
        self.purpose = purpose

    def __str__(self) -> str:
        return (
            f"{self.purpose} needs a result backend, and this service has none; "
            "install workertoolbox-results and set result_backend to that of the "
            "workers, or start the workflow in a task of a service that has one"
        )


class NotJSON(RoutingError, ValueError):
    """A task has a serializer other than JSON."""

    def __init__(self, serializer: str, task: str) -> None:
        super().__init__(serializer, task)
        self.serializer = serializer
        self.task = task

    def __str__(self) -> str:
        return (
            f"task {self.task!r} has serializer={self.serializer!r}, but workers and "
            "the monitor accept JSON only; remove serializer from the task and from "
            "the call"
        )


class PublishRefused(RoutingError, RuntimeError):
    """RabbitMQ refused a task for one of its queues; it does not say which one."""

    def __init__(self, routing_key: str) -> None:
        super().__init__(routing_key)
        self.routing_key = routing_key

    def __str__(self) -> str:
        return (
            f"the broker refused a task with routing key {self.routing_key!r}, or its "
            "copy: a queue is full or unavailable. The task may have been sent, so it "
            "is not sent again; check the lengths and policies of the queues"
        )


class PublishUnconfirmed(RoutingError, RuntimeError):
    """RabbitMQ did not confirm a task in time: it has an alarm, or does not answer.

    Not a `TimeoutError`, after which Celery would send the task again.
    """

    def __init__(
        self, routing_key: str, bound_s: float, alarm: str | None, is_sent: bool
    ) -> None:
        super().__init__(routing_key, bound_s, alarm, is_sent)
        self.routing_key = routing_key
        self.bound_s = bound_s
        self.alarm = alarm
        self.is_sent = is_sent

    def __str__(self) -> str:
        if self.alarm:
            reason = f"because it has an alarm ({self.alarm}) and blocks publishers"
            later = "when the alarm is cleared"
        else:
            reason = "and does not answer"
            later = "when the broker goes on"
        fate = f"may still run {later}, so it is not sent again"
        return (
            f"RabbitMQ did not confirm a task with routing key {self.routing_key!r} "
            f"within {self.bound_s:g} s {reason}. The task "
            f"{fate if self.is_sent else 'was not sent'}; see `rabbitmqctl status`, or "
            'wait longer with broker_transport_options={"confirm_timeout": …}'
        )


class RemoteControlUnavailable(RoutingError, NotImplementedError):
    """The broker does not support remote control and events."""

    def __init__(self, queue: str) -> None:
        super().__init__(queue)
        self.queue = queue

    def __str__(self) -> str:
        return (
            f"queue {self.queue!r} is not created: SQS does not support remote control "
            "and events; query the database instead (`celery … tasks list`)"
        )


class UndeclaredQueues(RoutingError, LookupError):
    """Routes of the settings name queues that are not declared."""

    def __init__(
        self,
        routes: tuple[tuple[str, str, str | None], ...],
        routes_setting: str = "task_routes",
        queues_setting: str = "queues=[…]",
    ) -> None:
        """Describe the routes, each with its queue and the nearest declared one."""
        super().__init__(routes, routes_setting, queues_setting)
        self.routes = routes
        self.routes_setting = routes_setting
        self.queues_setting = queues_setting

    def written_as(
        self, *, queues_setting: str, routes_setting: str = "task_routes"
    ) -> UndeclaredQueues:
        """Return the error with the settings as the user has written them."""
        return UndeclaredQueues(self.routes, routes_setting, queues_setting)

    def __str__(self) -> str:
        is_one = len(self.routes) == 1
        names = ", ".join(repr(name) for name in sorted({q for _, q, _ in self.routes}))
        sent = ", ".join(
            f"{pattern!r} to queue {queue!r}"
            + (f" (did you mean {nearest!r}?)" if nearest else "")
            for pattern, queue, nearest in self.routes
        )
        return (
            f"{self.routes_setting} sends {sent}, which {'is' if is_one else 'are'} "
            f"not declared; add {names} to {self.queues_setting}, or correct the "
            f"route{'' if is_one else 's'}"
        )


class UnknownPrefix(RoutingError, LookupError):
    """The name of a task starts with no queue's name, and such tasks are refused."""

    def __init__(self, task: str, nearest: str | None = None) -> None:
        super().__init__(task, nearest)
        self.task = task
        self.nearest = nearest

    def __str__(self) -> str:
        prefix = self.task.partition(".")[0]
        hint = f"did you mean {self.nearest!r}? If not, add" if self.nearest else "add"
        return (
            f"task {self.task!r} has the prefix {prefix!r}, but no queue has this "
            f"name; {hint} it to queues=[…], or name a queue in queue=… or task_routes "
            "(UNKNOWN_PREFIX=\"default\" would send the task to queue 'celery'): see "
            "docs/how-to/troubleshooting.md#why-did-my-task-go-to-celery"
        )


class UnknownQueue(RoutingError, LookupError):
    """A task was sent to a queue that no configuration declares."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        super().__init__(name, nearest)
        self.name = name
        self.nearest = nearest

    def __str__(self) -> str:
        hint = f"did you mean {self.nearest!r}? If not, add" if self.nearest else "add"
        return (
            f"queue {self.name!r} is not declared; {hint} it to queues=[…], or send "
            "the task to a declared queue: otherwise no worker runs the task"
        )


class Unroutable(RoutingError, LookupError):
    """No queue of the broker is bound for a task."""

    def __init__(self, exchange: str, routing_key: str) -> None:
        super().__init__(exchange, routing_key)
        self.exchange = exchange
        self.routing_key = routing_key

    def __str__(self) -> str:
        return (
            f"the broker has no queue bound to exchange {self.exchange!r} for routing "
            f"key {self.routing_key!r}, so the task was not sent; if the queue was "
            "deleted on the broker, a new connection declares it again"
        )


class UntrackedExchange(RoutingError, ValueError):
    """A task is routed to an exchange that sends the monitor no copies."""

    def __init__(self, exchange: str, task: str) -> None:
        super().__init__(exchange, task)
        self.exchange = exchange
        self.task = task

    def __str__(self) -> str:
        return (
            f"task {self.task!r} is routed to exchange {self.exchange!r}, which sends "
            "the monitor no copies; route the task by queue, as in "
            f'task_routes={{"{self.task}": {{"queue": …}}}}'
        )
