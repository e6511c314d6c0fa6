"""Masking of secrets in URLs and settings."""

from __future__ import annotations

import pytest

from cadasta.workertoolbox.routing import Routing, mask_url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://me:geheim@mq//", "amqp://me:********@mq//"),
        ("amqp://me@corp:geheim@mq//", "amqp://me@corp:********@mq//"),
        ("amqp://me:ge heim@mq//", "amqp://me:********@mq//"),
        ("amqp://me:ge:he/i@m@mq//", "amqp://me:********@mq//"),
        ("amqp://me@mq//", "amqp://me@mq//"),
        ("redis://geheim@cache/0", "redis://********@cache/0"),
        ("redis://:geheim@cache/0", "redis://:********@cache/0"),
        ("https://geheim@sentry/1", "https://********@sentry/1"),
        ("https://docs/a@b", "https://docs/a@b"),
        ("sqs://id:geheim@", "sqs://id:********@"),
        (
            "amqp://me:geheim@a//;amqp://me:geheim@b//",
            "amqp://me:********@a//;amqp://me:********@b//",
        ),
        ("cannot reach amqp://me:geheim@mq: closed", None),
        ("cannot reach amqp://me@corp:geheim@mq: closed", None),
        ("postgresql://d/e?sslpassword=geheim&a=b", None),
        ("https://h/?sig=geheim&a=b", None),
        ("https://h/?X-Amz-Signature=geheim", None),
        ("https://h/?apikey=geheim", None),
        ("https://h/?stripe_key=geheim", None),
        ("rediss://h/0?ssl_keyfile_passphrase=geheim", None),
        ("host=db user=me password=geheim dbname=x", None),
        ("host=db password='ge heim' dbname=x", None),
        ("Driver={X};Server=db;PWD=geheim;Uid=me", None),
        ("Server=db;PWD={ge heim};Uid=me", None),
    ],
)
def test_a_secret_in_a_url_or_a_dsn_is_masked(text: str, shown: str | None) -> None:
    masked = mask_url(text)

    assert "heim" not in masked
    assert shown is None or masked == shown


@pytest.mark.parametrize(
    "text",
    [
        "redis://cache:6379/0?ssl_cert_reqs=required",
        "filesystem://",
        "sqs://",
        "amqp://mq//?heartbeat=10",
        "assign=1 design=2",
    ],
)
def test_a_text_without_a_secret_is_unchanged(text: str) -> None:
    assert mask_url(text) == text


def test_repr_masks_settings_whose_names_end_with_key() -> None:
    text = repr(Routing(["export"], broker_transport_options={"stripe_key": "geheim"}))

    assert "geheim" not in text
    assert "task_default_routing_key='celery'" in text
