from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import make_url

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results import InvalidTemplate

PASSWORDS = [
    "@:/%{}",
    "p@s/s:w?o#r%d {0.RESULT_DB_USER}",
    "{{0.RESULT_DB_USER}}",
    "%40%%s",
    "a;b&c=d+e",
    "ä€\U0001f511",
    "'\"\\",
    " ",
    "",
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_of_any_characters_reaches_the_database(password: str) -> None:
    config = Config(["export"], RESULT_DB_PASS=password, RESULT_DB_USER="who@home")
    url = make_url(config.result_backend.removeprefix("workertoolbox+"))

    assert (url.username, url.password) == ("who@home", password)
    assert (url.host, url.port, url.database) == ("localhost", 5432, "workers")
    assert config.RESULT_DB_PASS == password


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_from_the_environment_reaches_the_database(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_DB_PASS", password)
    url = make_url(Config(["export"]).result_backend.removeprefix("workertoolbox+"))

    assert url.password == password


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (
            {"result_backend": "db+x://{0.RESULT_DB_USER}@db/{0.RESULT_DB_NAME}"},
            "result_backend",
            "db+x://a%2Fb@db/workers",
        ),
        (
            {"result_backend": "db+x://{RESULT_DB_USER}"},
            "result_backend",
            "db+x://a%2Fb",
        ),
        ({"result_backend": "cache+{QUEUE_PREFIX}"}, "result_backend", "cache+dev"),
        (
            {"broker_url": "amqp://{0.RESULT_DB_USER}@mq"},
            "broker_url",
            "amqp://a%2Fb@mq",
        ),
        (
            {
                "broker_url": [
                    "amqp://{0.RESULT_DB_USER}@1",
                    "amqp://{0.QUEUE_PREFIX}@2",
                ]
            },
            "broker_url",
            ["amqp://a%2Fb@1", "amqp://dev@2"],
        ),
        (
            {"broker_url": ("amqp://{0.RESULT_DB_USER}@1", "amqp://2")},
            "broker_url",
            ("amqp://a%2Fb@1", "amqp://2"),
        ),
        ({"imports": ("{0.QUEUE_PREFIX}.x",)}, "imports", ("dev.x",)),
        (
            {"beat_schedule_filename": "{0.RESULT_DB_USER}-{0.QUEUE_PREFIX}"},
            "beat_schedule_filename",
            "a/b-dev",
        ),
        (
            {
                "export_bucket": "{0.PLATFORM_QUEUE_NAME}{{}}",
                "PLATFORM_QUEUE_NAME": "m",
            },
            "export_bucket",
            "m{}",
        ),
        ({"broker_url": "amqp://me:a{b}c@mq"}, "broker_url", "amqp://me:a{b}c@mq"),
        ({"export_format": "{x}"}, "export_format", "{x}"),
    ],
)
def test_a_string_is_rendered_with_the_variables(
    settings: dict[str, Any], name: str, value: object
) -> None:
    assert Config(["export"], RESULT_DB_USER="a/b", **settings)[name] == value


@pytest.mark.parametrize(
    "settings",
    [
        {"result_backend": "db+x://{0.RESULT_DB_PASSWORD}@db/workers"},
        {"result_backend": "db+x://{RESULT_DB_PASSWORD}@db/workers"},
        {"broker_url": "amqp://me:geheim@{0.RESULT_DB_PASSWORD}"},
        {"broker_url": ["amqp://", "amqp://me:geheim@{0.RESULT_DB_PASSWORD}"]},
        {"beat_schedule_filename": "{0.RESULT_DB_PASSWORD}"},
    ],
)
def test_an_unknown_variable_in_a_template_is_an_error_that_lists_the_known_ones(
    settings: dict[str, Any],
) -> None:
    with pytest.raises(InvalidTemplate) as caught:
        Config(["export"], **settings)

    [name] = settings
    assert str(caught.value).startswith(f"{name} template ")
    assert "RESULT_DB_PASSWORD} is not a variable" in str(caught.value)
    assert "{0.RESULT_DB_PASS}, " in str(caught.value)
    assert "{0.QUEUE_PREFIX}" in str(caught.value)
    assert "geheim" not in str(caught.value)
