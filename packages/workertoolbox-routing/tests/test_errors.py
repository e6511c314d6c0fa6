from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from cadasta.workertoolbox import routing

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize(
    "error",
    [
        routing.CopyFailed("platform.fifo", "1", "away"),
        routing.FrozenSettings("broker_url"),
        routing.InvalidID("task_id", "5", "is not a string"),
        routing.InvalidQueues("queues is empty"),
        routing.InvalidSetting("queue_type"),
        routing.MissingExtra("workertoolbox-routing[redis]", "No module named 'redis'"),
        routing.PublishRefused("export"),
        routing.PublishUnconfirmed("export", 15.0, "low on disk", True),
        routing.PublishUnconfirmed("export", 0.5, None, False),
        routing.RemoteControlUnavailable("x.pidbox"),
        routing.RoutingError("something"),
        routing.UndeclaredQueues((("mail.*", "mials", "mails"),), "MQ_TASK_ROUTES"),
        routing.UnknownPrefix("mail.send"),
        routing.UnknownPrefix("exprot.project", "export"),
        routing.UnknownQueue("exprot"),
        routing.UnknownQueue("exprot", "export"),
        routing.Unroutable("task_exchange", "export"),
        routing.InvalidVariable("WORKERTOOLBOX_QEUES"),
        routing.NoResultBackend("a chord"),
        routing.NotJSON("pickle", "export.project"),
        routing.UntrackedExchange("media", "export.project"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling(error: routing.RoutingError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)


@pytest.mark.parametrize(
    "error",
    [
        value
        for value in vars(routing).values()
        if isinstance(value, type)
        and issubclass(value, routing.RoutingError)
        and value is not routing.RoutingError
    ],
)
def test_the_readme_lists_an_error_with_its_built_in_errors(
    error: type[routing.RoutingError],
) -> None:
    _, *built_in = error.__bases__
    names = ", ".join(f"`{each.__name__}`" for each in built_in)

    assert f"\n| `{error.__name__}` | {names} | " in README.read_text("utf-8")
