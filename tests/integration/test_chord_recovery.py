"""A chord starts its body exactly once, despite retries, redeliveries and kills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import chord

from support.chord_harness import ACCIDENT_QUEUE, TIMEOUT_S, ChordHarness, header_of
from support.chord_service import is_flag_set, set_flag
from support.polling import wait_until

pytestmark = pytest.mark.parametrize(
    "chord_service", ["rabbitmq"], indirect=True, scope="module"
)


def test_the_body_starts_after_the_retries_of_its_header(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("retry", 1), task("echo", 2)]
    result = chord(header, task("collect"))()

    assert chords.value(result) == [1, 2]
    assert chords.runs(header_of(result)[0].id) == 3


def test_two_workers_that_finish_a_header_start_its_body_once(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    results = [
        chord([task("echo", n) for n in range(200)], task("collect"))()
        for _ in range(2)
    ]

    for result in results:
        assert chords.value(result) == list(range(200))


def test_a_task_delivered_twice_is_counted_once(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("publish_again", 1), task("echo_after_flag", 2, "ran twice")]
    result = chord(header, task("collect"))()
    twice = header_of(result)[0].id
    wait_until(lambda: chords.ends(twice) == 2)
    early = chords.publications(result.id)
    set_flag("ran twice")

    assert early == 0
    assert chords.value(result) == [1, 2]


def test_a_redelivered_task_does_not_publish_a_body_being_published(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    result = chord([task("publish_again", 1)], task("collect_after_wait"))()
    twice = header_of(result)[0].id
    wait_until(lambda: is_flag_set(f"waits {result.id}") and chords.runs(twice) == 2)
    # This chord takes long enough for the other run to find that the body is due.
    chord([task("echo", 1)], task("collect"))().get(timeout=TIMEOUT_S)
    early = chords.publications(result.id)
    set_flag(f"goes on {result.id}")

    assert early == 0
    assert chords.value(result) == [1]


def test_a_process_that_dies_does_not_publish_the_body_that_another_is_publishing(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [
        task("die_between_count_and_end", 1, "counted"),
        task("echo_after_flag", 2, "counted"),
    ]
    result = chord(header, task("collect_after_wait"))()
    lost = header_of(result)[0]
    wait_until(lambda: lost.status == "FAILURE")
    # This chord takes long enough for the worker of the process to publish the body.
    chord([task("echo", 1)], task("collect"))().get(timeout=TIMEOUT_S)
    early = chords.publications(result.id)
    set_flag(f"goes on {result.id}")

    assert early == 0
    assert chords.value(result) == [1, 2]


def test_a_task_redelivered_after_its_process_died_is_counted_once(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    result = chord([task("die_once", 1), task("echo", 2)], task("collect"))()

    assert chords.value(result) == [1, 2]
    assert chords.runs(header_of(result)[0].id) == 2


def test_a_body_is_published_although_the_process_died_before_it_did(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    names = [
        "echo",
        "echo_without_result",
        "echo_acks_late",
        "echo_reject_on_worker_lost",
    ]
    results = [chord([task(name, 1)], task("collect_after_kill"))() for name in names]
    for name, result in zip(names, results, strict=True):
        value = chords.value(result)

        assert value == [1], name
        assert is_flag_set(f"killed {result.id}")


def test_a_task_of_a_killed_worker_is_redelivered_and_counted_once(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("hang_once", 1).set(queue=ACCIDENT_QUEUE), task("echo", 2)]
    with chords.worker() as first:
        result = chord(header, task("collect"))()
        wait_until(lambda: is_flag_set(f"hangs {header_of(result)[0].id}"))
        first.kill()
    with chords.worker():
        assert chords.value(result) == [1, 2]
        assert chords.runs(header_of(result)[0].id) == 2


def test_a_body_is_published_although_the_worker_was_killed_before_it_did(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("echo_acks_late", n).set(queue=ACCIDENT_QUEUE) for n in range(3)]
    with chords.worker("-P", "solo") as first:
        result = chord(header, task("collect_after_kill"))()
        killed = first.wait()
    with chords.worker("-P", "solo"):
        value = chords.value(result)

    assert killed == -9
    assert is_flag_set(f"killed {result.id}")
    assert value == [0, 1, 2]


def test_a_body_is_published_once_if_the_connection_breaks_meanwhile(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("echo", n).set(queue=ACCIDENT_QUEUE) for n in range(3)]
    with chords.worker(through_proxy=True):
        result = chord(header, task("collect_after_wait"))()
        wait_until(lambda: is_flag_set(f"waits {result.id}"))
        assert chords.proxy is not None
        chords.proxy.cut()
        set_flag(f"goes on {result.id}")
        value = chords.value(result)

    assert value == [0, 1, 2]
