from __future__ import annotations

import copy
import pickle

import pytest

from cadasta.workertoolbox.routing import FrozenSettings, Routing, split_urls


def test_neither_settings_nor_the_values_in_them_can_be_changed() -> None:
    routing = Routing(["export"])

    with pytest.raises(FrozenSettings, match="Routing.*broker_url=…"):
        routing.broker_url = "redis://"
    with pytest.raises(FrozenSettings, match="list.*app.conf"):
        routing.accept_content.append("yaml")
    assert routing == Routing(["export"])


def test_routing_is_comparable_and_survives_pickling_and_copying() -> None:
    routing = Routing(["export"], broker_url="sqs://", task_routes={"a": "export"})

    assert pickle.loads(pickle.dumps(routing)) == routing
    assert copy.deepcopy(routing) == routing
    assert routing != Routing(["export"], broker_url="sqs://")


def test_setting_an_attribute_is_an_attribute_error() -> None:
    routing = Routing(["export"])

    with pytest.raises(AttributeError, match="cannot be changed"):
        routing.QUEUES = ("msg",)


def test_repr_shows_settings_with_secrets_masked() -> None:
    text = repr(
        Routing(
            ["export"],
            broker_url=["amqp://me:s3cret@a//;amqp://me:s3c@ret:@b//", "amqp://c//"],
            broker_transport_options={
                "sqs": {"secret_access_key": "s3cret", "access_key_id": "me"},
                "password": "s3cret",
            },
            redis_password="s3cret",
            result_backend="db+postgresql://me:s3c;ret@d/e?sslpassword=s3cret&a=b",
        )
    )

    assert "s3c" not in text and "ret@" not in text
    assert "me:********@d/e?sslpassword=********&a=b" in text
    assert "amqp://me:********@a//;amqp://me:********@b//" in text
    assert "task_default_exchange='task_exchange'" in text
    assert "QUEUES" not in text


def test_a_semicolon_in_a_password_does_not_separate_urls() -> None:
    urls = ["amqp://me:s3c;ret@a//", "sqla+postgresql://b"]

    assert split_urls(";".join(urls)) == urls
