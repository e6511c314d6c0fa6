"""A service with the toolbox, whose types a user's type checker has to accept."""

from __future__ import annotations

import logging
from typing import Any, assert_type

from celery import Celery
from kombu import Queue

from cadasta.workertoolbox.conf import (
    BrokerUnreachable,
    ConfError,
    Config,
    ConflictingSettings,
    DeclarationRefused,
    InvalidFolder,
    InvalidValue,
    InvalidVariable,
    JSONFormatter,
    MissingQueues,
    NotConfigured,
    OverriddenSetting,
    PlainFormatter,
    TaskIdFilter,
    UnknownSetting,
    extract_followups,
    sentry_options,
    setup_app,
)
from cadasta.workertoolbox.results import ResultsError, render_text, render_url, upgrade
from cadasta.workertoolbox.routing import (
    CELERY_TYPES,
    DEFAULT_QUEUE,
    EXCHANGE,
    FIFO_ATTRIBUTES,
    MONITOR_QUEUE,
    PUBLISHED_AT,
    BrokerRefused,
    CopyFailed,
    FrozenSettings,
    InvalidID,
    InvalidQueues,
    InvalidSetting,
    MissingExtra,
    NoResultBackend,
    NotJSON,
    PublishRefused,
    PublishUnconfirmed,
    RemoteControlUnavailable,
    Router,
    Routing,
    RoutingError,
    Settings,
    UndeclaredQueues,
    UnknownPrefix,
    UnknownQueue,
    Unroutable,
    UntrackedExchange,
    adopt,
    bindings_of,
    check_url,
    existing_queues,
    expand_predefined_queues,
    find_router,
    find_similar,
    mask_url,
    mask_value,
    read_variables,
    results_elsewhere,
    split_urls,
    sqs_name_problem,
    track,
    without_delay,
)
from cadasta.workertoolbox.routing import InvalidVariable as InvalidRoutingVariable

app = Celery("export")
config = Config(
    ["export", "msg"],
    RESULT_DB_HOST="db",
    RESULT_DB_PORT=5432,
    RETENTION={"default": "90d"},
    LOG_FORMAT="json",
    COPY_FAILURE="raise",
    task_acks_late=True,
)
app.config_from_object(config)
assert_type(config, Config)
assert_type(config.copy(QUEUE_PREFIX="live"), Config)
assert_type(Config.embedded(["export"], folder=".workertoolbox"), Config)
assert_type(setup_app(app, throw=False), list[ConfError | ResultsError])
assert_type(upgrade("workertoolbox+sqlite:///results.sqlite"), str)

producer = Routing(["export"], broker_url="amqp://mq", queue_type="quorum")
settings: Settings = producer
router: type[Router] = Router


def follow(task: Any) -> dict[str, Any]:
    """Use what a task may use."""
    return extract_followups(task)


def log() -> None:
    """Set up logging, and Sentry's options."""
    handler = logging.StreamHandler()
    handler.addFilter(TaskIdFilter())
    for formatter in (JSONFormatter(), PlainFormatter()):
        handler.setFormatter(formatter)
    assert_type(sentry_options(), dict[str, Any])


def keep(existing: Celery) -> None:
    """Track an app that has its configuration already."""
    track(existing, ["export"])
    assert_type(adopt(existing.conf, ["export"]), Routing)
    for queue in existing_queues(existing.conf):
        assert_type(queue, Queue)
        bindings_of(queue)
    assert_type(results_elsewhere("redis://"), str | None)
    assert_type(sqs_name_problem("export.fifo", prefix="dev"), str | None)


def read() -> None:
    """Use the functions for other configurations."""
    assert_type(mask_url("amqp://user:secret@mq"), str)
    assert_type(split_urls("amqp://a;amqp://b"), list[str])
    assert_type(find_similar("qeues", ["queues"]), str | None)
    assert_type(read_variables("EXPORT", CELERY_TYPES), dict[str, Any])
    assert_type(expand_predefined_queues({}), dict[str, Any])
    assert_type(without_delay("export"), str)
    assert_type(find_router(app.conf), Router | None)
    assert_type(render_url("sqlite:///{NAME}", {"NAME": "x"}), str)
    assert_type(render_text("{NAME}", {"NAME": "x"}, setting="queue"), str)
    assert_type(mask_value("password", "secret"), object)
    check_url("broker_url", "amqp://mq")
    names: list[str] = [DEFAULT_QUEUE, EXCHANGE, MONITOR_QUEUE, PUBLISHED_AT]
    names.extend(FIFO_ATTRIBUTES)


def send() -> str:
    """Send a task, and name each error of a configuration and of a publish."""
    try:
        return str(app.send_task("export.report", [2026]).id)
    except (CopyFailed, UnknownQueue, UnknownPrefix, Unroutable, NotJSON) as error:
        return str(error)
    except (PublishRefused, PublishUnconfirmed, BrokerRefused) as error:
        return str(error)
    except (NoResultBackend, UntrackedExchange, RemoteControlUnavailable) as error:
        return str(error)
    except (InvalidQueues, InvalidSetting, InvalidID, InvalidRoutingVariable) as error:
        return str(error)
    except (FrozenSettings, MissingExtra, UndeclaredQueues, RoutingError) as error:
        return str(error)
    except (MissingQueues, UnknownSetting, InvalidValue, InvalidVariable) as error:
        return str(error)
    except (ConflictingSettings, InvalidFolder, NotConfigured) as error:
        return str(error)
    except (BrokerUnreachable, DeclarationRefused, ConfError) as error:
        return str(error)


ignored: type[Warning] = OverriddenSetting
