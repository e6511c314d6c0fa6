"""Publish every Celery task to its work queue, and a copy of it to the monitor queue.

from celery import Celery
from cadasta.workertoolbox.routing import Routing

app = Celery("export")
app.config_from_object(Routing(queues=["export"], broker_url="sqs://"))

The import registers the transports of this package with kombu, for every Celery app of
the process, connects three of Celery's signals, and replaces two methods of Celery's
`AMQP`; see the README, "Other apps in the same process".
"""

from cadasta.workertoolbox.routing._broker_urls import check_url
from cadasta.workertoolbox.routing._delays import without_delay
from cadasta.workertoolbox.routing._environment.celery_settings import CELERY_TYPES
from cadasta.workertoolbox.routing._environment.reading import read_variables
from cadasta.workertoolbox.routing._environment.spelling import find_similar
from cadasta.workertoolbox.routing._errors import (
    BrokerRefused,
    CopyFailed,
    FrozenSettings,
    InvalidID,
    InvalidQueues,
    InvalidSetting,
    InvalidVariable,
    MissingExtra,
    NoResultBackend,
    NotJSON,
    PublishRefused,
    PublishUnconfirmed,
    RemoteControlUnavailable,
    RoutingError,
    UndeclaredQueues,
    UnknownPrefix,
    UnknownQueue,
    Unroutable,
    UntrackedExchange,
)
from cadasta.workertoolbox.routing._headers import PUBLISHED_AT
from cadasta.workertoolbox.routing._masking import mask_url, mask_value, split_urls
from cadasta.workertoolbox.routing._predefined_queues import expand_predefined_queues
from cadasta.workertoolbox.routing._queue_names import sqs_name_problem
from cadasta.workertoolbox.routing._results_elsewhere import results_elsewhere
from cadasta.workertoolbox.routing._router import Router, find_router
from cadasta.workertoolbox.routing._routing import Routing
from cadasta.workertoolbox.routing._settings import Settings
from cadasta.workertoolbox.routing._task_queue import EXCHANGE, bindings_of
from cadasta.workertoolbox.routing._topology import DEFAULT_QUEUE, MONITOR_QUEUE
from cadasta.workertoolbox.routing._track import adopt, existing_queues, track
from cadasta.workertoolbox.routing._transport_options import FIFO_ATTRIBUTES

__all__ = [
    "BrokerRefused",
    "CELERY_TYPES",
    "CopyFailed",
    "DEFAULT_QUEUE",
    "EXCHANGE",
    "FIFO_ATTRIBUTES",
    "FrozenSettings",
    "InvalidID",
    "InvalidQueues",
    "InvalidSetting",
    "InvalidVariable",
    "MONITOR_QUEUE",
    "MissingExtra",
    "NoResultBackend",
    "NotJSON",
    "PUBLISHED_AT",
    "PublishRefused",
    "PublishUnconfirmed",
    "RemoteControlUnavailable",
    "Router",
    "Routing",
    "RoutingError",
    "Settings",
    "UndeclaredQueues",
    "UnknownPrefix",
    "UnknownQueue",
    "Unroutable",
    "UntrackedExchange",
    "adopt",
    "bindings_of",
    "check_url",
    "existing_queues",
    "expand_predefined_queues",
    "find_router",
    "find_similar",
    "mask_url",
    "mask_value",
    "read_variables",
    "results_elsewhere",
    "split_urls",
    "sqs_name_problem",
    "track",
    "without_delay",
]
