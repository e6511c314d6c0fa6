"""Publish every Celery task to its work queue, and a copy of it to the monitor.

from celery import Celery
from cadasta.workertoolbox.routing import Routing

app = Celery("export")
app.config_from_object(Routing(queues=["export"], broker_url="sqs://"))
"""

from cadasta.workertoolbox.routing import _publication, _registry, _worker
from cadasta.workertoolbox.routing._errors import (
    CopyFailed,
    InvalidQueues,
    InvalidSetting,
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
from cadasta.workertoolbox.routing._topology import DEFAULT_QUEUE, EXCHANGE, MONITOR

__all__ = [
    "CopyFailed",
    "DEFAULT_QUEUE",
    "EXCHANGE",
    "InvalidQueues",
    "InvalidSetting",
    "MONITOR",
    "PUBLISHED_AT",
    "RemoteControlUnavailable",
    "Router",
    "Routing",
    "RoutingError",
    "Settings",
    "UnknownQueue",
    "Unroutable",
    "UntrackedExchange",
    "mask_url",
]

_publication.connect()
_registry.register()
_worker.connect()
