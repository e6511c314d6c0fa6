"""Configure a Celery app so that every task is routed, tracked and stored.

from celery import Celery
from cadasta.workertoolbox.conf import Config

app = Celery("export")
app.config_from_object(Config(queues=["export", "msg"]))

The import connects Celery's signals `worker_init` and `beat_init`, to set up logging
and Sentry for apps that are configured with the toolbox.
"""

from cadasta.workertoolbox.conf._config import Config
from cadasta.workertoolbox.conf._errors import (
    BrokerUnreachable,
    ConfError,
    ConflictingSettings,
    DeclarationRefused,
    InvalidFolder,
    InvalidValue,
    InvalidVariable,
    MissingQueues,
    NotConfigured,
    UnknownSetting,
)
from cadasta.workertoolbox.conf._followups import extract_followups
from cadasta.workertoolbox.conf._logging.formatters import JSONFormatter, PlainFormatter
from cadasta.workertoolbox.conf._logging.sentry import sentry_options
from cadasta.workertoolbox.conf._logging.task_context import TaskIdFilter
from cadasta.workertoolbox.conf._settings.overrides import OverriddenSetting
from cadasta.workertoolbox.conf._setup import setup_app

__all__ = [
    "BrokerUnreachable",
    "ConfError",
    "Config",
    "ConflictingSettings",
    "DeclarationRefused",
    "InvalidFolder",
    "InvalidValue",
    "InvalidVariable",
    "JSONFormatter",
    "MissingQueues",
    "NotConfigured",
    "OverriddenSetting",
    "PlainFormatter",
    "TaskIdFilter",
    "UnknownSetting",
    "extract_followups",
    "sentry_options",
    "setup_app",
]
