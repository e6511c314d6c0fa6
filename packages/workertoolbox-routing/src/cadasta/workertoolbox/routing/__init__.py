"""Publish every Celery task to its work queue, and a copy of it to the monitor.

from celery import Celery
from cadasta.workertoolbox.routing import Routing

app = Celery("export")
app.config_from_object(Routing(queues=["export"], broker_url="sqs://"))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cadasta.workertoolbox.routing._errors import (
        CopyFailed,
        FrozenSettings,
        InvalidQueues,
        InvalidSetting,
        NotJSON,
        PublishRefused,
        RemoteControlUnavailable,
        RoutingError,
        UnknownQueue,
        Unroutable,
        UntrackedExchange,
    )
    from cadasta.workertoolbox.routing._publication import PUBLISHED_AT
    from cadasta.workertoolbox.routing._router import Router
    from cadasta.workertoolbox.routing._routing import Routing
    from cadasta.workertoolbox.routing._settings import Settings, mask_url
    from cadasta.workertoolbox.routing._topology import (
        DEFAULT_QUEUE,
        EXCHANGE,
        MONITOR,
        without_delay,
    )

__all__ = [
    "CopyFailed",
    "DEFAULT_QUEUE",
    "EXCHANGE",
    "FrozenSettings",
    "InvalidQueues",
    "InvalidSetting",
    "MONITOR",
    "NotJSON",
    "PUBLISHED_AT",
    "PublishRefused",
    "RemoteControlUnavailable",
    "Router",
    "Routing",
    "RoutingError",
    "Settings",
    "UnknownQueue",
    "Unroutable",
    "UntrackedExchange",
    "mask_url",
    "without_delay",
]

#: Where a name is, if not among the errors. Celery and kombu import what they have on
#: first use, and so must who does not want to be the slow one.
_HOMES = {
    "DEFAULT_QUEUE": "_topology",
    "EXCHANGE": "_topology",
    "MONITOR": "_topology",
    "PUBLISHED_AT": "_publication",
    "Router": "_router",
    "Routing": "_routing",
    "Settings": "_settings",
    "mask_url": "_settings",
    "without_delay": "_topology",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES.get(name, '_errors')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return __all__
