"""Masking of secrets in URLs and settings."""

from __future__ import annotations

import pytest

from cadasta.workertoolbox.routing import Routing, mask_url
from cadasta.workertoolbox.routing._masking import mask_fields


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at amqp://u:ge heim@mq// now", "at amqp://u:********@mq// now"),
        ("at amqp://u:ge 'x' heim, a b", "at amqp://u:ge 'x' heim, a b"),
        (
            "at amqp://u:ge heim@a// or redis://geheim@b, by c@d",
            "at amqp://u:********@a// or redis://********@b, by c@d",
        ),
        ("see http://h:80/x and a@b", "see http://h:80/x and a@b"),
        ("at https://h: user a@b", "at https://h: user a@b"),
        ("at http://[::1]:80/x, a@b", "at http://[::1]:80/x, a@b"),
        ("at amqp://u:ge\nheim a@b", "at amqp://u:ge\nheim a@b"),
    ],
)
def test_a_password_with_a_space_is_masked_within_a_text(text: str, shown: str) -> None:
    assert mask_url(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"api-key": "geheim", "a": 1}', '{"api-key": "********", "a": 1}'),
        ('{"cvv": 123, "a": [1]}', '{"cvv": "********", "a": [1]}'),
        ('{"tokens": ["geheim", "x"], "a": 1}', '{"tokens": "********", "a": 1}'),
        (r'"{\"pwd\": \"geheim\", \"a\": 1}"', r'"{\"pwd\": "********", \"a\": 1}"'),
        ("{'Cookie': 'a=geheim; b'}", "{'Cookie': \"********\"}"),
        ('{"newPassword": "geh', '{"newPassword": "********"'),
        ("Authorization: Bearer geheim", 'Authorization: "********"'),
        ('{"body": "Z2VoZWltZ2VoZWlt"}', '{"body": "********"}'),
        ('{"eventName": "ObjectCreated:Put"}', '{"eventName": "ObjectCreated:Put"}'),
        ("{'kwargsrepr': \"{'a': 'geheim'}\"}", "{'kwargsrepr': \"********\"}"),
        ('{"key": "1.zip"}', '{"key": "1.zip"}'),
    ],
)
def test_secret_fields_of_a_message_are_masked(text: str, shown: str) -> None:
    assert mask_fields(text) == shown


@pytest.mark.parametrize("text", ["a", "token", "://a:b ", "://", "password: '", "-"])
def test_the_cost_of_masking_is_linear(text: str) -> None:
    # A quadratic cost would take minutes.
    mask_fields(text * 20_000)
