"""`Routing`: the settings of a service that publishes tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kombu import Exchange, Queue

from cadasta.workertoolbox.routing import _beat, _publication, _worker
from cadasta.workertoolbox.routing._broker_urls import check_broker_urls, may_be_sqs
from cadasta.workertoolbox.routing._environment.reading import ENV_PREFIX
from cadasta.workertoolbox.routing._environment.variables import (
    read_producer_environment,
)
from cadasta.workertoolbox.routing._errors import (
    InvalidQueues,
    InvalidSetting,
    UndeclaredQueues,
)
from cadasta.workertoolbox.routing._fixed_settings import (
    check_given,
    default_destination,
)
from cadasta.workertoolbox.routing._json_only import JSON_ONLY
from cadasta.workertoolbox.routing._own_queues import own_queue
from cadasta.workertoolbox.routing._predefined_queues import expand_predefined_queues
from cadasta.workertoolbox.routing._queue_names import (
    check_prefix,
    check_queue_name,
    check_queues,
)
from cadasta.workertoolbox.routing._router import Router
from cadasta.workertoolbox.routing._settings import NO_RESULTS, Settings
from cadasta.workertoolbox.routing._task_queue import EXCHANGE, TaskQueue
from cadasta.workertoolbox.routing._topology import MONITOR_QUEUE, build_queues
from cadasta.workertoolbox.routing._transport_options import (
    check_predefined_queues,
    transport_options,
)
from cadasta.workertoolbox.routing.transports import _registration

#: The consumer of the work queues. Celery imports it by this name, in workers only.
_CONSUMER = "cadasta.workertoolbox.routing.consumer:Consumer"

#: The variables and the setting of this package, with their defaults.
DEFAULTS: dict[str, Any] = {
    "QUEUES": None,
    "queue_type": None,
    "PLATFORM_QUEUE_NAME": MONITOR_QUEUE,
    "QUEUE_PREFIX": "dev",
    "COPY_FAILURE": "log",
    "UNKNOWN_PREFIX": "default",
    "SERVICE_VERSION": None,
    "PREDEFINED_QUEUES": None,
}

#: Maximum length in characters of the version of a service. A commit has 40 or 64.
MAX_VERSION_LENGTH = 100

#: The default of a keyword: the environment or `DEFAULTS` gives the value.
_UNSET: Any = object()

_QUEUE_TYPES = (None, "classic", "quorum")

#: Values of settings that have few. Celery's settings are the types of the queues that
#: it creates for the names that an app uses, of the default queue, and of the queues in
#: which ETA tasks wait.
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "COPY_FAILURE": ("log", "raise"),
    "UNKNOWN_PREFIX": ("default", "refuse"),
    "task_create_missing_queue_type": _QUEUE_TYPES,
    "task_default_queue_type": _QUEUE_TYPES,
    "broker_native_delayed_delivery_queue_type": _QUEUE_TYPES,
}


class Routing(Settings):
    """Celery settings that publish every task, and a copy of it for the monitor.

    A keyword wins over the environment, which wins over the default. The environment is
    that of `Config` in workertoolbox-conf: a setting is `WORKERTOOLBOX_<NAME>`, in
    uppercase, or the content of the file that `WORKERTOOLBOX_<NAME>_FILE` names.

    Args:
        queues: The work queues, at least one, unless the environment gives them: names,
            and `Queue` objects of kombu with exchanges, keys and arguments of their
            own. The default queue, `celery`, and the monitor queue are always declared.
        queue_type: `quorum` for RabbitMQ's quorum queues; other brokers ignore it.
            Celery's `task_create_missing_queue_type` and `task_default_queue_type` win
            over it, the first for the work queues, the second for the queues that all
            services share: `celery` and the monitor queue.
        PLATFORM_QUEUE_NAME: The task-monitor queue: a name, or a `Queue` object with
            arguments.
        QUEUE_PREFIX: The prefix of each queue name on SQS, without the hyphen.
        COPY_FAILURE: What to do when a task was sent but its copy cannot be: `log` an
            error or `raise` one. RabbitMQ makes the copy itself.
        UNKNOWN_PREFIX: What to do with a task such as `mail.send` if no queue is named
            `mail`: send it to the `default` queue, `celery`, or `refuse` it.
        SERVICE_VERSION: The version of the service, such as `1.4.0` or a commit. Every
            message carries it, and charts mark when it was first seen.
        PREDEFINED_QUEUES: SQS queues that were created elsewhere: a text with a line
            `name=url` for each, or a dictionary of names and URLs.
        ENV_PREFIX: Prefix of the environment variables, without the `_`, or None to
            read none.
        settings: Any lowercase Celery setting.

    Raises:
        InvalidQueues: The list of queues, a queue name or the prefix is not valid.
        InvalidSetting: A setting is unknown, has a value that is not valid, or would
            break tracking.
        InvalidVariable: A variable of the environment is unknown or cannot be read.
        UndeclaredQueues: Routes in `task_routes` name queues that are not in the list.
    """

    def __init__(
        self,
        queues: Sequence[str | Queue] | None = None,
        *,
        queue_type: str | None = _UNSET,
        PLATFORM_QUEUE_NAME: str | Queue = _UNSET,
        QUEUE_PREFIX: str = _UNSET,
        COPY_FAILURE: str = _UNSET,
        UNKNOWN_PREFIX: str = _UNSET,
        SERVICE_VERSION: str | None = _UNSET,
        PREDEFINED_QUEUES: str | Mapping[str, Any] | None = _UNSET,
        ENV_PREFIX: str | None = ENV_PREFIX,
        **settings: Any,
    ) -> None:
        keywords = {
            "QUEUES": _UNSET if queues is None else queues,
            "queue_type": queue_type,
            "PLATFORM_QUEUE_NAME": PLATFORM_QUEUE_NAME,
            "QUEUE_PREFIX": QUEUE_PREFIX,
            "COPY_FAILURE": COPY_FAILURE,
            "UNKNOWN_PREFIX": UNKNOWN_PREFIX,
            "SERVICE_VERSION": SERVICE_VERSION,
            "PREDEFINED_QUEUES": PREDEFINED_QUEUES,
        }
        given = {name: value for name, value in keywords.items() if value is not _UNSET}
        environment = read_producer_environment(ENV_PREFIX) if ENV_PREFIX else {}
        values = {**DEFAULTS, **environment, **given, **settings}
        if values["QUEUES"] is None:
            raise InvalidQueues(
                'no queues are given; write Routing(queues=["export", "msg"]), or set '
                f"{ENV_PREFIX}_QUEUES=export,msg in the environment"
            )
        try:
            settings = _build(expand_predefined_queues(values))
        except UndeclaredQueues as error:
            if "QUEUES" in given or "QUEUES" not in environment:
                raise
            raise error.written_as(queues_setting=f"{ENV_PREFIX}_QUEUES") from None
        super().__init__(settings)


def _build(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings, checked and with those that tracking needs."""
    variables = {name: values.pop(name) for name in DEFAULTS}
    monitor, queue_type = variables["PLATFORM_QUEUE_NAME"], variables.pop("queue_type")
    monitor_name = monitor.name if isinstance(monitor, Queue) else monitor
    del variables["PREDEFINED_QUEUES"]
    for name, choices in _CHOICES.items():
        _check_choice(name, {**values, **variables}.get(name), choices)
    _check_choice("queue_type", queue_type, _QUEUE_TYPES)
    variables["SERVICE_VERSION"] = _checked_version(variables["SERVICE_VERSION"])
    options = _transport_options(
        variables, values.pop("broker_transport_options", None)
    )
    prefix = options["queue_name_prefix"]
    default = default_destination(values)
    naming = {"prefix": prefix, "on_sqs": may_be_sqs(values)}
    for name in (monitor_name, default["task_default_queue"]):
        check_queue_name(name, **naming)
    names = check_queues(variables["QUEUES"], monitor=monitor_name, **naming)
    _check_settings(values)
    declared = build_queues(
        _own_queues(variables["QUEUES"], default),
        default=default["task_default_queue"],
        monitor=monitor,
        queue_type=values.get("task_create_missing_queue_type") or queue_type,
        shared_queue_type=values.get("task_default_queue_type") or queue_type,
    )
    check_predefined_queues(options, (queue.name for queue in declared))
    router = Router(
        declared,
        values.pop("task_routes", None),
        values.get("broker_native_delayed_delivery_queue_type") or "quorum",
        variables["UNKNOWN_PREFIX"],
        default,
    )
    router.check_routes()
    return {
        **variables,
        "QUEUES": names,
        "PLATFORM_QUEUE_NAME": monitor_name,
        "task_queues": declared,
        "task_routes": (router,),
        "worker_consumer": _CONSUMER,
        "result_backend": NO_RESULTS,
        **JSON_ONLY,
        **values,
        **default,
        "broker_transport_options": options,
    }


def _own_queues(
    queues: Sequence[str | Queue], default: Mapping[str, str]
) -> list[str | TaskQueue]:
    """Return the work queues of a configuration, with the user's `Queue` objects bound.

    A default queue that no `Queue` object describes has the exchange of the settings.
    """
    name, exchange_name, exchange_type, key = default.values()
    own = Exchange(exchange_name, type=exchange_type)
    exchange = None if exchange_name == EXCHANGE else own
    given: list[str | Queue] = list(queues)
    if exchange is not None:
        given = [Queue(name) if queue == name else queue for queue in given]
        if all(isinstance(queue, str) or queue.name != name for queue in given):
            given.insert(0, Queue(name))
    return [
        own_queue(queue, exchange=exchange, routing_key=key)
        if isinstance(queue, Queue)
        else queue
        for queue in given
    ]


def _transport_options(
    variables: Mapping[str, Any], given: Mapping[str, Any] | None
) -> dict[str, Any]:
    check_prefix("QUEUE_PREFIX", variables["QUEUE_PREFIX"])
    return transport_options(
        given or {},
        prefix=variables["QUEUE_PREFIX"],
        copy_failure=variables["COPY_FAILURE"],
    )


def _check_settings(settings: Mapping[str, Any]) -> None:
    for name in settings:
        if not name.islower():
            raise InvalidSetting(
                f"{name!r} is not a variable of the toolbox; write Celery's settings "
                "in lowercase"
            )
    check_given(settings)
    check_broker_urls(settings)


def _checked_version(version: object) -> str | None:
    """Return the version of the service.

    Raises:
        InvalidSetting: It is not a short text.
    """
    if version is None or version == "":
        return None  # The environment names a version that was not given to the build.
    if isinstance(version, str) and len(version) <= MAX_VERSION_LENGTH:
        if version.isprintable():
            return version
    raise InvalidSetting(
        f"SERVICE_VERSION={version!r} is not valid; write a printable text of at most "
        f"{MAX_VERSION_LENGTH} characters, such as '1.4.0'"
    )


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        known = " or ".join(repr(choice) for choice in choices if choice)
        raise InvalidSetting(f"{name}={value!r} is unknown; write {known}")


# At import, because unpickling a `Routing` does not call `Routing.__init__`.
_registration.register()
_publication.install()
_worker.connect_signals()
_beat.connect_signals()
