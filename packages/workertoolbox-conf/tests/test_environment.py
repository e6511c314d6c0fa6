from __future__ import annotations

from math import inf
from traceback import format_exception

import pytest

from cadasta.workertoolbox.conf import Config, InvalidValue, InvalidVariable
from cadasta.workertoolbox.routing import UndeclaredQueues


@pytest.mark.parametrize("text", ["export,msg", " export, msg,", '["export", "msg"]'])
def test_the_environment_can_give_the_queues(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_QUEUES", text)

    assert Config().QUEUES == ("export", "msg")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PLATFORM_QUEUE_NAME", "monitor", "monitor"),
        ("QUEUE_PREFIX", "live", "live"),
        ("RESULT_DB_PASS", "1234", "1234"),
        ("RESULT_DB_PORT", "5433", 5433),
        ("CHORD_UNLOCK_MAX_RETRIES", "10", 10),
        ("MAX_ARGUMENT_BYTES", "1000", 1000),
        ("broker_url", "redis://localhost/0", "redis://localhost/0"),
        ("broker_pool_limit", "20", 20),
        ("broker_connection_timeout", "0.5", 0.5),
        ("beat_cron_starting_deadline", "5", 5),
        ("task_publish_retry_policy", '{"max_retries": 1}', {"max_retries": 1}),
        ("imports", "a.tasks,b.tasks", ("a.tasks", "b.tasks")),
        ("cassandra_servers", "a, b", ["a", "b"]),
        ("security_key_password", "geheim", b"geheim"),
        ("task_annotations", '{"*": {"rate_limit": 1}}', {"*": {"rate_limit": 1}}),
        ("worker_concurrency", "4", 4),
        ("worker_concurrency", "auto", "auto"),
        ("task_default_priority", "5", 5),
        ("task_default_delivery_mode", "transient", "transient"),
        ("task_default_delivery_mode", "1", 1),
        ("timezone", "", ""),
        ("task_time_limit", "30s", 30.0),
        ("task_soft_time_limit", " 1.5 h ", 5400.0),
        ("result_expires", "2d", 172_800.0),
        ("result_expires", "1w", 604_800.0),
        ("worker_lost_wait", "250ms", 0.25),
        ("result_chord_join_timeout", ".5", 0.5),
        ("redis_socket_timeout", "5m", 300.0),
        ("broker_heartbeat", "2m", 120),
        ("beat_cron_starting_deadline", "1d", 86_400),
        ("result_backend_max_retries", "inf", inf),
        *[("task_acks_late", text, True) for text in ("true", "1", "YES", " on ")],
        *[("task_track_started", text, False) for text in ("false", "0", "No", "off")],
        ("broker_use_ssl", '{"cert_reqs": 2}', {"cert_reqs": 2}),
    ],
)
def test_a_value_is_parsed_by_the_type_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"WORKERTOOLBOX_{name.upper()}", text)
    read = Config(["export"])[name]

    assert read == value
    assert isinstance(read, type(value))


def test_a_keyword_wins_over_the_environment_which_wins_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("QUEUES", "RESULT_DB_USER", "RESULT_DB_NAME"):
        monkeypatch.setenv(f"WORKERTOOLBOX_{name}", "environment")
    config = Config(["keyword"], RESULT_DB_USER="keyword")

    assert config.QUEUES == ("keyword",)
    assert config.result_backend.endswith("//keyword:@localhost:5432/environment")


def test_a_result_backend_in_the_environment_is_a_template_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_BACKEND", "db+x://{0.RESULT_DB_PASS}@db")
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_DB_PASS", "@")

    assert Config(["export"]).result_backend == "db+x://%40@db"


def test_another_prefix_reads_only_the_variables_with_that_prefix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXPORT_QUEUES", "export")
    monkeypatch.setenv("WORKERTOOLBOX_QUEUES", "msg")
    monkeypatch.setenv("WORKERTOOLBOX_NO_SETTING", "")

    assert Config(ENV_PREFIX="EXPORT").QUEUES == ("export",)


def test_a_route_to_an_undeclared_queue_names_the_variable_with_the_queues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXPORT_QUEUES", "export")
    routes = {"mail.*": {"queue": "mails"}}

    with pytest.raises(UndeclaredQueues, match="add 'mails' to EXPORT_QUEUES, or"):
        Config(ENV_PREFIX="EXPORT", task_routes=routes)
    with pytest.raises(UndeclaredQueues, match=r"add 'mails' to queues=\[…\], or"):
        Config(["mail"], ENV_PREFIX="EXPORT", task_routes=routes)


@pytest.mark.parametrize("prefix", ["", "EXPORT_", "2X", "A-B", None])
def test_an_invalid_prefix_is_an_error(prefix: str) -> None:
    with pytest.raises(InvalidValue, match="ENV_PREFIX="):
        Config(["export"], ENV_PREFIX=prefix)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("WORKERTOOLBOX_RESULT_DB_PORT", "many", "an integer"),
        ("WORKERTOOLBOX_RESULT_BACKEND_MAX_RETRIES", "many", "a number"),
        ("WORKERTOOLBOX_WORKER_MAX_TASKS_PER_CHILD", "2h", "an integer"),
        *[
            ("WORKERTOOLBOX_TASK_TIME_LIMIT", text, "a duration")
            for text in ("long", "", "2 hours", "-1", "nan", "1h30", "h", "1.2.3s")
        ],
        *[
            ("WORKERTOOLBOX_BROKER_HEARTBEAT", text, "a whole number of seconds")
            for text in ("often", "0.5s", "500ms", "9" * 400)
        ],
        ("WORKERTOOLBOX_TASK_ACKS_LATE", "maybe", "a boolean"),
        ("WORKERTOOLBOX_TASK_ACKS_LATE", "", "a boolean"),
        ("WORKERTOOLBOX_QUEUES", '["export"', "a list"),
    ],
)
def test_a_malformed_value_is_an_error_that_says_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, expected: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(InvalidVariable) as caught:
        Config(["export"])

    assert f"{variable}={text!r} in the environment is not {expected}" in str(
        caught.value
    )


@pytest.mark.parametrize("text", ['{"secret_access_key": "geheim"', '["geheim"]'])
def test_the_error_about_a_malformed_object_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS", text)
    with pytest.raises(InvalidVariable, match="JSON object") as caught:
        Config(["export"])

    assert "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS" in str(caught.value)
    assert "geheim" not in "".join(format_exception(caught.value))


@pytest.mark.parametrize("name", ["BROKER_USE_SSL", "PREDEFINED_QUEUES"])
def test_incomplete_json_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"WORKERTOOLBOX_{name}", '{"secret_access_key": "geheim"')
    with pytest.raises(InvalidVariable, match=f"{name}=.*looks like JSON") as caught:
        Config(["export"])

    assert "geheim" not in "".join(format_exception(caught.value))


def test_an_unknown_variable_is_an_error_that_suggests_a_similar_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_DB_PASSWORD", "geheim")
    with pytest.raises(InvalidVariable) as caught:
        Config(["export"])

    assert "WORKERTOOLBOX_RESULT_DB_PASSWORD" in str(caught.value)
    assert "did you mean WORKERTOOLBOX_RESULT_DB_PASS?" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_the_error_about_an_unknown_variable_that_is_not_similar_suggests_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_SETUP_LOGGING", "true")
    with pytest.raises(InvalidVariable, match="SETUP_LOGGING.*not a setting; unset"):
        Config(["export"])


def test_the_error_about_a_malformed_duration_names_the_units(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_TASK_TIME_LIMIT", "1y")
    with pytest.raises(InvalidVariable, match=r"\(ms, s, m, h, d, w\)"):
        Config(["export"])


@pytest.mark.parametrize("variable", ["FOLDER", "TEST_AMQP_URL", "WEB_PASSWORD"])
def test_variables_that_are_not_settings_are_ignored(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(f"WORKERTOOLBOX_{variable}", "x")

    assert Config(["export"]) == Config(queues=["export"])
    assert variable not in Config(["export"])


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("WORKERTOOLBOX_BROKER_URL", "amqp://me:a/geheim@mq//"),
        ("WORKERTOOLBOX_BROKER_WRITE_URL", "redis://:a#geheim@redis:6379/0"),
        ("WORKERTOOLBOX_RESULT_BACKEND", "redis://:a/geheim@redis:6379/0"),
        ("WORKERTOOLBOX_RESULT_BACKEND", "workertoolbox+postgresql://me:a@geheim@db/w"),
        ("WORKERTOOLBOX_RESULT_BACKEND", "db+postgresql://me:a@geheim@db/w"),
        ("CELERY_BROKER_URL", "sqs://key:a/geheim@"),
        ("CELERY_RESULT_BACKEND", "rediss://:a?geheim@redis"),
    ],
)
def test_a_url_that_is_not_percent_encoded_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)

    with pytest.raises(ValueError, match="percent-encode") as raised:
        Config(["export"])

    assert "heim" not in "".join(format_exception(raised.value))
