from __future__ import annotations

import pickle

import pytest

from cadasta.workertoolbox import routing


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
