from __future__ import annotations

from typing import Any

import pytest

from cadasta.workertoolbox.conf import (
    Config,
    InvalidValue,
)
from cadasta.workertoolbox.routing import InvalidSetting

PREDEFINED = {
    name: f"https://sqs.example/1/{name}"
    for name in ("celery", "export", "platform.fifo")
}


def lines(queues: dict[str, str]) -> str:
    return "\n".join(f"  {name} = {url}" for name, url in queues.items()) + "\n\n"


@pytest.mark.parametrize("given", [PREDEFINED, lines(PREDEFINED)])
@pytest.mark.parametrize("place", ["PREDEFINED_QUEUES", "predefined_queues"])
def test_predefined_queues_can_be_given_as_names_and_urls(
    given: Any, place: str
) -> None:
    settings: dict[str, Any] = {place: given}
    if place == "predefined_queues":
        settings = {"broker_transport_options": settings}
    config = Config(["export"], broker_url="sqs://", **settings)
    options = config.broker_transport_options

    assert options["predefined_queues"] == {
        name: {"url": url} for name, url in PREDEFINED.items()
    }
    assert options["queue_name_prefix"] == ""
    assert "visibility_timeout" not in options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lines({"export": "sqs.example/1/export"}), "'sqs.example/1/export' for the"),
        ({"export": 5}, "a value of type int for the URL of queue 'export'"),
        ({"export": "https://sqs.example"}, "'https://sqs.example' for the URL"),
        ("https://sqs.example/1/export?a=b", "not a name and a URL"),
        ("export", "line 'export' that is not a name"),
        (2 * lines({"export": "https://sqs.example/1/export"}), "'export' twice"),
        (17, "has type int"),
        (
            '{"export": {"url": "…", "secret_access_key": "geheim"',
            "is JSON in a string",
        ),
    ],
)
def test_malformed_predefined_queues_are_an_error_that_shows_how_to_write_them(
    given: Any, message: str
) -> None:
    with pytest.raises(InvalidValue, match=message) as caught:
        Config(["export"], PREDEFINED_QUEUES=given)

    assert "PREDEFINED_QUEUES" in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "export=https://…/export" in str(caught.value) or "twice" in message


def test_predefined_queues_in_two_places_are_an_error() -> None:
    with pytest.raises(InvalidValue, match="both given"):
        Config(
            ["export"],
            PREDEFINED_QUEUES=PREDEFINED,
            broker_transport_options={"predefined_queues": PREDEFINED},
        )


def test_a_missing_predefined_queue_is_an_error_that_names_it() -> None:
    with pytest.raises(InvalidSetting, match=r"no 'platform\.fifo'"):
        Config(
            ["export"],
            PREDEFINED_QUEUES={name: PREDEFINED[name] for name in ("celery", "export")},
        )
