from __future__ import annotations

from typing import Any

import pytest

from cadasta.workertoolbox.routing import InvalidSetting, Routing


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_serializer", "pickle"),
        ("result_serializer", "pickle"),
        ("event_serializer", "pickle"),
        ("accept_content", ["json", "pickle"]),
        ("accept_content", ["application/x-python-serialize"]),
        ("result_accept_content", ("pickle",)),
        ("task_serializer", "yaml"),
        ("accept_content", "json"),
        ("accept_content", []),
    ],
)
def test_serializers_other_than_json_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidSetting, match="JSON only") as caught:
        Routing(["export"], **{name: value})

    assert f"{name}={value!r}" in str(caught.value)


def test_the_content_type_of_json_is_accepted() -> None:
    routing = Routing(["export"], accept_content=("json", "application/json"))

    assert routing.accept_content == ("json", "application/json")
    assert routing.task_serializer == routing.result_serializer == "json"
    assert routing.result_accept_content == ["json"]
