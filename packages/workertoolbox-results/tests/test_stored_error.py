"""Reading the stored errors of an ended task."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import states

from cadasta.workertoolbox.results._history.attempt_records import MAX_ERROR_BYTES
from cadasta.workertoolbox.results._history.error_groups import occurrences
from cadasta.workertoolbox.results._history.stored_error import (
    MAX_TEXT,
    StoredError,
    read_error,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

ERROR = {
    "exc_type": "Timeout",
    "exc_module": "requests.exceptions",
    "exc_place": "export.tasks.fetch",
    "exc_message": ["no answer", 30],
}


def stored(**changes: Any) -> StoredError:
    return read_error(json.dumps({**ERROR, **changes}).encode())


def test_an_error_is_read_with_type_place_and_text() -> None:
    assert stored() == StoredError(
        "requests.exceptions.Timeout", "export.tasks.fetch", "Timeout: no answer, 30"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exc_module": "builtins"}, ("Timeout", "Timeout: no answer, 30")),
        ({"exc_module": None}, ("Timeout", "Timeout: no answer, 30")),
        ({"exc_message": "no"}, ("requests.exceptions.Timeout", "Timeout: no")),
        ({"exc_message": []}, ("requests.exceptions.Timeout", "Timeout")),
        (
            {"exc_type": "KeyError", "exc_module": "builtins", "exc_message": ["a"]},
            ("KeyError", "KeyError: 'a'"),
        ),
        (
            {
                "exc_type": "UnpickleableExceptionWrapper",
                "exc_module": "celery.utils.serialization",
                "exc_message": ["export.errors", "Declined", ["no"], "Declined('no')"],
            },
            ("export.errors.Declined", "Declined: no"),
        ),
    ],
)
def test_an_error_is_shown_as_python_prints_it(
    changes: dict[str, Any], expected: tuple[str, str]
) -> None:
    error = stored(**changes)

    assert (error.type, error.text) == expected


def test_a_long_error_is_cut_off_and_keeps_its_place() -> None:
    encoded = json.dumps({**ERROR, "exc_message": ["é" * 10_000]}).encode()
    error = read_error(encoded[:MAX_ERROR_BYTES])

    assert (error.type, error.place) == (stored().type, stored().place)
    assert error.text.startswith("Timeout: ééé") and len(error.text) <= MAX_TEXT


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (b'{"text": "no"}', "{'text': 'no'}"),
        (b"", "None"),
        (b"\x80\x04pickle", "None"),
        (b'{"exc_type": 5, "exc_message": ["a\\u0000"]}', r"a\x00"),
    ],
)
def test_other_stored_values_are_read_too(encoded: bytes, text: str) -> None:
    assert read_error(encoded) == StoredError(None, None, text)


def test_an_ended_task_has_the_errors_of_its_attempts() -> None:
    attempt = {
        "error_group": "1:a",
        "started_at": None,
        "finished_at": "2026-01-02T11:00:00",
        "error": json.dumps(ERROR),
        "outcome": states.RETRY,
    }
    lost = {**attempt, "error_group": None, "error": None, "outcome": "LOST"}
    old = {key: value for key, value in attempt.items() if key != "error_group"}
    row = {
        **dict.fromkeys(("retries", "queue", "worker", "published_at", "started_at")),
        "id": "1",
        "name": "export.fetch",
        "status": states.FAILURE,
        "result": b'{"exc_type": "KeyError", "exc_message": ["a"]}',
        "traceback": None,
        "finished_at": NOON,
        "error_group": "1:b",
        "attempts": [old, lost, attempt],
    }
    retried, failed = occurrences(row)

    assert retried == (
        "1:a",
        "1",
        "export.fetch",
        NOON.replace(hour=11),
        stored(),
        True,
    )
    assert failed.group == "1:b"
    assert (failed.at, failed.is_retry, failed.error.type) == (NOON, False, "KeyError")
    assert not list(occurrences({**row, "error_group": None, "attempts": None}))
