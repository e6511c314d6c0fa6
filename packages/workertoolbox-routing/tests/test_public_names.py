from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from cadasta.workertoolbox import routing


def test_every_public_name_is_there_and_sorted() -> None:
    assert routing.__all__ == sorted(routing.__all__)
    assert all(hasattr(routing, name) for name in routing.__all__)


@pytest.mark.parametrize(
    "error",
    [
        routing.CopyFailed("platform.fifo", "1", "away"),
        routing.FrozenSettings("broker_url"),
        routing.InvalidQueues("queues is empty"),
        routing.InvalidSetting("queue_type"),
        routing.PublishRefused("export"),
        routing.RemoteControlUnavailable("x.pidbox"),
        routing.RoutingError("something"),
        routing.UnknownQueue("exprot"),
        routing.UnknownQueue("exprot", "export"),
        routing.Unroutable("task_exchange", "export"),
        routing.NotJSON("pickle", "export.project"),
        routing.UntrackedExchange("media", "export.project"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling(error: routing.RoutingError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_importing_needs_neither_a_database_nor_aws() -> None:
    program = (
        "import sys, cadasta.workertoolbox.routing\n"
        "print({'sqlalchemy', 'boto3', 'alembic', 'rich'} & set(sys.modules))"
    )
    output = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert output == "set()\n"
