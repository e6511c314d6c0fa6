"""Failed, revoked and lost tasks fail their chord."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, chord, group, states
from celery.exceptions import ChordError, CPendingDeprecationWarning

from support.chord_harness import TIMEOUT_S, ChordHarness, header_of
from support.polling import wait_until

pytestmark = pytest.mark.parametrize(
    "chord_service", ["rabbitmq"], indirect=True, scope="module"
)


def test_a_failed_task_fails_its_chord_and_the_others_still_run(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    body = task("collect").on_error(task("errback", "failed-task"))
    result = chord([task("fail", "no"), task("echo", 1), task("echo", 2)], body)()
    failed, *others = header_of(result)
    error = chords.failure(result)

    assert isinstance(error, ChordError)
    assert str(error) == f"Dependency {failed.id} raised ValueError('no')"
    assert [chords.runs(other.id) for other in others] == [1, 1]
    assert [other.get(timeout=TIMEOUT_S) for other in others] == [1, 2]
    assert result.state == states.FAILURE
    wait_until(lambda: chords.errbacks("failed-task"))
    chords.settle()
    assert chords.errbacks("failed-task") == [result.id]


def test_an_errback_that_takes_the_request_is_called_once(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    key = "request"
    body = task("collect").on_error(task("errback_with_error", key=key))
    result = chord([task("fail", "no"), task("fail", "no")], body)()
    error = chords.failure(result)

    assert isinstance(error, ChordError)
    assert chords.errbacks(key) == [result.id]


@pytest.mark.parametrize("shape", ["chord", "chain", "last"])
def test_an_errback_is_called_once_if_an_inner_chord_fails(
    chords: ChordHarness, task: Callable[..., Any], shape: str
) -> None:
    key = f"inner-{shape}"
    inner = chord([task("fail", "no"), task("echo", 1)], task("collect"))
    headers = {
        "chord": [inner, task("echo", 2)],
        "chain": [chain(task("echo", 1), inner), task("echo", 2)],
        "last": [task("echo", 2), inner],
    }
    outer = chord(headers[shape], task("collect"))
    with pytest.warns(CPendingDeprecationWarning, match="errback"):
        outer.on_error(task("errback_with_error", key=key))
    result = outer.apply_async()
    error = chords.failure(result)
    wait_until(lambda: chords.errbacks(key))
    chords.settle()

    assert isinstance(error, ChordError)
    assert chords.errbacks(key) == [result.id]


def test_a_failed_step_of_a_chain_in_a_header_fails_the_chord(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    inner = chain(task("echo", 1), task("fail_with_values"), task("add"))
    # The header is not over when the step fails.
    result = chord([inner, task("echo", 2).set(countdown=1)], task("collect"))()
    last = header_of(result)[0]
    error = chords.failure(result)

    assert isinstance(error, ChordError)
    assert str(error) == f"Dependency {last.id} raised ValueError('refused: 1')"


@pytest.mark.parametrize("kind", ["task", "chain", "group", "chord"])
def test_a_failed_chord_in_a_header_fails_the_outer_chord(
    chords: ChordHarness, task: Callable[..., Any], kind: str
) -> None:
    body = {
        "task": task("collect"),
        "chain": chain(task("collect"), task("collect")),
        "group": group(task("collect"), task("collect")),
        "chord": chord([task("collect")], task("collect")),
    }[kind]
    inner = chord([task("echo", 1), task("fail", "no")], body)
    result = chord([inner, task("echo", 2)], task("collect"))()
    error = chords.failure(result)

    assert isinstance(error, ChordError)
    assert str(error).startswith("Dependency ")


def test_a_failed_body_of_a_chord_in_a_header_fails_the_outer_chord(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    inner = chord([task("echo", 1)], task("fail_with_values"))
    result = chord([inner, task("echo", 2)], task("collect"))()
    error = chords.failure(result)

    assert str(error).startswith(
        f"Dependency {header_of(result)[0].id} raised ValueError"
    )


def test_a_failed_header_fails_each_task_of_a_group_as_body(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    body = group(task("collect"), task("collect"))
    result = chord([task("echo", 1), task("fail", "no")], body)()
    errors = chords.failure(result)

    assert list(map(repr, errors)) == ["ValueError('no')"] * 2


def test_a_failed_body_has_its_own_error(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    body = task("fail_with_values").on_error(task("errback", "failed-body"))
    result = chord([task("echo", 1)], body)()
    error = chords.value(result)
    wait_until(lambda: chords.errbacks("failed-body"))
    chords.settle()

    assert repr(error) == "ValueError('refused: [1]')"
    assert chords.errbacks("failed-body") == [result.id]


def test_a_revoked_task_fails_the_chord(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    revoked = task("echo", 1)
    id = revoked.freeze().id
    replies = chords.app.control.revoke(id, reply=True, limit=2, timeout=10)
    result = chord([revoked, task("echo", 2)], task("collect"))()
    error = chords.failure(result)

    assert replies and len(replies) == 2
    assert isinstance(error, ChordError)
    assert str(error) == f"Dependency {id} raised TaskRevokedError('revoked')"


def test_a_task_that_kills_its_process_fails_the_chord(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    fatal_tasks = [task("die"), task("exit", 0), task("exit", 3)]
    results = [
        chord([fatal, task("echo", 1)], task("collect"))() for fatal in fatal_tasks
    ]
    for result in results:
        lost, other = header_of(result)
        error = chords.failure(result)

        assert isinstance(error, ChordError)
        assert str(error).startswith(f"Dependency {lost.id} raised WorkerLostError(")
        assert other.get(timeout=TIMEOUT_S) == 1
