from __future__ import annotations

import re
from typing import Any

import pytest

from cadasta.workertoolbox.routing import InvalidQueues, Routing, RoutingError


@pytest.mark.parametrize("prefix", ["a b", "pr\xe9", "", None, 5, "a.b"])
def test_a_prefix_that_sqs_does_not_accept_is_refused(prefix: Any) -> None:
    with pytest.raises(InvalidQueues, match=re.escape(f"QUEUE_PREFIX={prefix!r}")):
        Routing(["export"], QUEUE_PREFIX=prefix)


def test_names_are_checked_with_the_prefix_of_the_transport_options() -> None:
    long = {"queue_name_prefix": "x" * 75}
    strange = {"queue_name_prefix": "a b"}

    with pytest.raises(InvalidQueues, match="'platform.fifo' has 88 characters"):
        Routing(["export"], broker_transport_options=long)
    with pytest.raises(InvalidQueues, match="queue_name_prefix='a b'"):
        Routing(["export"], broker_transport_options=strange)


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        ([], "queues is empty"),
        ((), "queues is empty"),
        ("export", "'export'"),
        (None, "no queues are given"),
        ({"export": 1}, "{'export': 1}"),
        (7, "7"),
        (["export", 7], "7"),
        (["export", None], "None"),
        (["export", "msg", "export"], "'export' is listed 2 times"),
        (["export", "platform.fifo"], "'platform.fifo' is the task monitor's own"),
        (["ex port"], "'ex port'"),
        (["export!"], "'export!'"),
        (["exp\u00f6rt"], "'exp\u00f6rt'"),
        (["a.b"], "'a.b'"),
        ([".fifo"], "'.fifo'"),
        (["export\n"], r"'export\n'"),
        ([""], "''"),
        (["x" * 77], "81 characters"),
    ],
)
def test_an_invalid_queue_list_is_refused(queues: Any, said: str) -> None:
    with pytest.raises(InvalidQueues, match=re.escape(said)) as caught:
        Routing(queues)

    assert isinstance(caught.value, RoutingError) and isinstance(
        caught.value, ValueError
    )


@pytest.mark.parametrize("name", ["x" * 76, "export.fifo", "Ex-port_1", "celery"])
def test_names_that_sqs_accepts_are_accepted(name: str) -> None:
    assert Routing([name]).QUEUES == (name,)
