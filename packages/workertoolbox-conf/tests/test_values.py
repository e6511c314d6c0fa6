from __future__ import annotations

from typing import Any

import pytest

from cadasta.workertoolbox.conf import (
    Config,
    InvalidValue,
)
from cadasta.workertoolbox.results import InvalidRedaction, InvalidRetention


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RESULT_DB_USER", None),
        ("RESULT_DB_PASS", None),
        ("RESULT_DB_HOST", ["db"]),
        ("RESULT_DB_PORT", True),
        ("RESULT_DB_PORT", "postgres"),
        ("CHORD_UNLOCK_MAX_RETRIES", -1),
        ("CHORD_UNLOCK_MAX_RETRIES", "ten"),
        ("CHORD_UNLOCK_MAX_RETRIES", True),
        ("MAX_ARGUMENT_BYTES", 0),
        ("MAX_ARGUMENT_BYTES", "64k"),
        ("MAX_ARGUMENT_BYTES", True),
        ("MAX_HISTORY_RESULT_BYTES", "64k"),
        ("ARCHIVE_AFTER", "soon"),
        ("ARCHIVE_AFTER", 60),
        ("LOST_AFTER", "soon"),
        ("ERROR_GROUP", "group"),
        ("ERROR_GROUP", {"export.*": "group"}),
    ],
)
def test_an_invalid_value_of_a_variable_is_an_error_that_shows_it(
    name: str, value: Any
) -> None:
    with pytest.raises(InvalidValue) as caught:
        Config(["export"], **{name: value})

    assert str(caught.value).startswith(f"{name}={value!r}")


@pytest.mark.parametrize("name", ["broker_url", "broker_read_url", "broker_write_url"])
@pytest.mark.parametrize("value", [5, b"redis://:geheim@x", {"x": 1}, ["sqs://", 5]])
def test_a_broker_url_of_a_wrong_type_is_an_error(name: str, value: Any) -> None:
    with pytest.raises(
        InvalidValue, match=f"{name} is neither a string nor a list of strings"
    ) as caught:
        Config(["export"], **{name: value})

    assert "geheim" not in str(caught.value)


def test_the_error_about_a_password_of_a_wrong_type_does_not_show_it() -> None:
    with pytest.raises(InvalidValue) as caught:
        Config(["export"], RESULT_DB_PASS=b"geheim")  # type: ignore[arg-type]

    assert "geheim" not in str(caught.value)


def test_rules_of_redaction_are_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_REDACT", '{"export.*": ["folder", 0]}')

    assert Config(["export"])["REDACT"] == {"export.*": ["folder", 0]}
    with pytest.raises(InvalidRedaction, match="REDACT={'export': 'folder'}"):
        Config(["export"], REDACT={"export": "folder"})


@pytest.mark.parametrize(
    ("setting", "value", "wanted"),
    [
        ("task_acks_late", "yes", "True or False"),
        ("worker_prefetch_multiplier", "4", "a number"),
        ("task_time_limit", "1h", "seconds, as in 0.5"),
        ("broker_heartbeat", "30", "seconds, as in 30"),
    ],
)
def test_a_string_for_a_number_or_a_boolean_is_an_error(
    setting: str, value: Any, wanted: str
) -> None:
    with pytest.raises(
        InvalidValue, match=f"{setting}='{value}' is a string; .*{wanted}"
    ):
        Config(["export"], **{setting: value})


def test_an_invalid_retention_is_an_error_that_names_its_keys() -> None:
    with pytest.raises(InvalidRetention) as caught:
        Config(["export"], RETENTION={"failure": "30d", "default": "30", "a.b": "9d"})

    assert "'failure'" in str(caught.value) and "['default']: '30'" in str(caught.value)
    assert "a.b" not in str(caught.value)
