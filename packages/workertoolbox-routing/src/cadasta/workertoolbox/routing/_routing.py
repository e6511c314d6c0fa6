"""`Routing`: the settings of a service that publishes tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cadasta.workertoolbox.routing import _publication, _worker
from cadasta.workertoolbox.routing._errors import InvalidSetting
from cadasta.workertoolbox.routing._fixed_settings import check_given
from cadasta.workertoolbox.routing._json_only import JSON_ONLY
from cadasta.workertoolbox.routing._queue_names import (
    check_prefix,
    check_queue_name,
    check_queues,
)
from cadasta.workertoolbox.routing._router import Router
from cadasta.workertoolbox.routing._settings import Settings
from cadasta.workertoolbox.routing._topology import (
    DEFAULT_QUEUE,
    EXCHANGE,
    MONITOR_QUEUE,
    build_queues,
)
from cadasta.workertoolbox.routing._transport_options import (
    check_predefined_queues,
    transport_options,
)
from cadasta.workertoolbox.routing.transports import _registration

#: The consumer of the work queues. Celery imports it by this name, in workers only.
_CONSUMER = "cadasta.workertoolbox.routing.consumer:Consumer"

#: Celery's settings for types of queues: those that it creates for the names that an
#: app uses, the default queue, and the queues in which ETA tasks wait.
_QUEUE_TYPE_SETTINGS = (
    "task_create_missing_queue_type",
    "task_default_queue_type",
    "broker_native_delayed_delivery_queue_type",
)


#: The result backend unless another is given. Celery imports it by this name.
_NO_RESULTS = "cadasta.workertoolbox.routing.no_results:Backend"


class Routing(Settings):
    """Celery settings that publish every task, and a copy of it for the monitor.

    Args:
        queues: Names of the work queues, at least one. The queue `celery` and the
            monitor queue are always declared.
        queue_type: `quorum` for RabbitMQ's quorum queues; other brokers ignore it.
            Celery's `task_create_missing_queue_type` and `task_default_queue_type` win
            over it, the first for the work queues, the second for the queues that all
            services share: `celery` and the monitor queue.
        PLATFORM_QUEUE_NAME: The task-monitor queue.
        QUEUE_PREFIX: The prefix of each queue name on SQS, without the hyphen.
        COPY_FAILURE: What to do when a task was sent but its copy cannot be: `log` an
            error or `raise` one. RabbitMQ makes the copy itself.
        UNKNOWN_PREFIX: What to do with a task such as `mail.send` if no queue is named
            `mail`: send it to the `default` queue, `celery`, or `refuse` it.
        settings: Any lowercase Celery setting.

    Raises:
        InvalidQueues: The list of queues, a queue name or the prefix is not valid.
        InvalidSetting: A setting is unknown, has a value that is not valid, or would
            break tracking.
    """

    def __init__(
        self,
        queues: Sequence[str],
        *,
        queue_type: str | None = None,
        PLATFORM_QUEUE_NAME: str = MONITOR_QUEUE,
        QUEUE_PREFIX: str = "dev",
        COPY_FAILURE: str = "log",
        UNKNOWN_PREFIX: str = "default",
        **settings: Any,
    ) -> None:
        check_prefix("QUEUE_PREFIX", QUEUE_PREFIX)
        options = transport_options(
            settings.pop("broker_transport_options", None) or {},
            prefix=QUEUE_PREFIX,
            copy_failure=COPY_FAILURE,
        )
        prefix = options["queue_name_prefix"]
        check_queue_name(PLATFORM_QUEUE_NAME, prefix=prefix)
        names = check_queues(queues, monitor=PLATFORM_QUEUE_NAME, prefix=prefix)
        _check_choice("queue_type", queue_type, (None, "classic", "quorum"))
        _check_choice("COPY_FAILURE", COPY_FAILURE, ("log", "raise"))
        _check_choice("UNKNOWN_PREFIX", UNKNOWN_PREFIX, ("default", "refuse"))
        _check_settings(settings)
        for name in _QUEUE_TYPE_SETTINGS:
            _check_choice(name, settings.get(name), (None, "classic", "quorum"))
        declared = build_queues(
            names,
            monitor=PLATFORM_QUEUE_NAME,
            queue_type=settings.get("task_create_missing_queue_type") or queue_type,
            shared_queue_type=settings.get("task_default_queue_type") or queue_type,
        )
        delay_queue_type = settings.get("broker_native_delayed_delivery_queue_type")
        check_predefined_queues(options, (queue.name for queue in declared))
        router = Router(
            declared,
            settings.pop("task_routes", None),
            delay_queue_type or "quorum",
            UNKNOWN_PREFIX,
        )
        super().__init__(
            {
                "QUEUES": names,
                "PLATFORM_QUEUE_NAME": PLATFORM_QUEUE_NAME,
                "QUEUE_PREFIX": QUEUE_PREFIX,
                "COPY_FAILURE": COPY_FAILURE,
                "UNKNOWN_PREFIX": UNKNOWN_PREFIX,
                "task_queues": declared,
                "task_routes": (router,),
                "task_default_queue": DEFAULT_QUEUE,
                "task_default_exchange": EXCHANGE,
                "task_default_exchange_type": "topic",
                "task_default_routing_key": DEFAULT_QUEUE,
                "worker_consumer": _CONSUMER,
                "result_backend": _NO_RESULTS,
                **JSON_ONLY,
                **settings,
                "broker_transport_options": options,
            }
        )


def _check_settings(settings: Mapping[str, Any]) -> None:
    for name in settings:
        if not name.islower():
            raise InvalidSetting(
                f"{name!r} is not a variable of the toolbox; write Celery's settings "
                "in lowercase"
            )
    check_given(settings)


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        known = " or ".join(repr(choice) for choice in choices if choice)
        raise InvalidSetting(f"{name}={value!r} is unknown; write {known}")


# At import, because unpickling a `Routing` does not call `Routing.__init__`.
_registration.register()
_publication.install()
_worker.connect_signals()
