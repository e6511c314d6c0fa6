"""Chords of every shape return the values of their headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, chord, group

from support.chord_harness import TIMEOUT_S, ChordHarness, header_of


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_a_body_receives_the_values_of_its_header_in_order(
    chords: ChordHarness, task: Callable[..., Any], size: int
) -> None:
    result = chord([task("echo", n) for n in range(size)], task("collect"))()

    assert chords.value(result) == list(range(size))


def test_the_values_are_in_the_order_of_the_header_not_of_completion(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("echo_after_flag", 1, "first"), task("set_flag", 2, "first")]

    assert chords.value(chord(header, task("collect"))()) == [1, 2]


def test_the_body_of_an_empty_header_starts_at_once(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    assert chords.value(chord([], task("collect"))()) == []


def test_a_header_can_be_a_generator(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    result = chord((task("echo", n) for n in range(5)), task("collect"))()

    assert chords.value(result) == [0, 1, 2, 3, 4]


def test_a_chord_in_a_header_returns_the_value_of_its_body(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    inner = chord([task("echo", 1), task("echo", 2)], task("collect"))
    result = chord([task("echo", 0), inner, task("echo", 3)], task("collect"))()

    assert chords.value(result) == [0, [1, 2], 3]


def test_the_tasks_of_a_group_in_a_header_become_tasks_of_the_header(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    inner = group(task("echo", 1), task("echo", 2), group(task("echo", 3)))
    result = chord([task("echo", 0), inner, task("echo", 4)], task("collect"))()
    value = chords.value(result)

    assert sorted(value) == [0, 1, 2, 3, 4]
    assert value == [each.get(timeout=TIMEOUT_S) for each in header_of(result)]


def test_a_group_at_the_end_of_a_chain_in_a_header_returns_a_list(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    inner = chain(task("echo", 1), group(task("add", 1), task("add", 2)))
    result = chord([inner, task("echo", 0)], task("collect"))()

    assert chords.value(result) == [[2, 3], 0]


def test_a_chain_in_a_header_returns_the_value_of_its_last_task(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    inner = chain(task("echo", 1), task("add"), task("add"))
    result = chord([inner, task("echo", 0)], task("collect"))()

    assert chords.value(result) == [3, 0]


def test_a_chord_can_be_a_step_of_a_chain(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("add", 1), task("add", 2)]
    steps = chain(task("echo", 1), chord(header, task("collect")), task("collect"))

    assert chords.value(steps()) == [2, 3]


def test_groups_in_a_chain_wait_for_each_other(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    first = group(task("echo", 1), task("echo", 2))
    second = group(task("collect"), task("collect"))
    result = chain(first, second, task("collect"))()

    assert chords.value(result) == [[1, 2], [1, 2]]


def test_a_body_can_be_a_chord(chords: ChordHarness, task: Callable[..., Any]) -> None:
    body = chord([task("collect"), task("collect")], task("collect"))
    result = chord([task("echo", 1), task("echo", 2)], body)()

    assert chords.value(result) == [[1, 2], [1, 2]]


def test_a_body_can_be_a_chain(chords: ChordHarness, task: Callable[..., Any]) -> None:
    body = chain(task("collect"), task("collect"))
    result = chord([task("echo", 1), task("echo", 2)], body)()

    assert chords.value(result) == [1, 2]


def test_a_body_can_be_a_group(chords: ChordHarness, task: Callable[..., Any]) -> None:
    body = group(task("collect"), task("collect"))
    result = chord([task("echo", 1), task("echo", 2)], body)()

    assert chords.value(result) == [[1, 2], [1, 2]]


def test_a_frozen_signature_can_be_in_a_header_twice(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    twice = task("echo", 1)
    twice.freeze()
    result = chord([twice, task("echo", 2), twice], task("collect"))()

    assert chords.value(result) == [1, 2, 1]


def test_a_chord_can_be_applied_twice(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    twice = chord([task("echo", 1), task("echo", 2)], task("collect"))
    results = twice(), twice()

    assert results[0].id != results[1].id
    assert [chords.value(result) for result in results] == [[1, 2], [1, 2]]


def test_the_tasks_of_a_header_can_ignore_their_results(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("echo_without_result", 1), task("echo", 2).set(ignore_result=True)]

    assert chords.value(chord(header, task("collect"))()) == [1, 2]


def test_a_task_of_a_header_can_be_replaced_by_a_task(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("replace", task("echo", 1)), task("echo", 2)]

    assert chords.value(chord(header, task("collect"))()) == [1, 2]


def test_a_task_of_a_header_can_be_replaced_by_a_group(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("replace_by_group", [1, 2]), task("echo", 3)]

    assert chords.value(chord(header, task("collect"))()) == [[1, 2], 3]


def test_a_task_of_a_header_can_be_replaced_by_a_chord(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("replace_by_chord", [1, 2]), task("echo", 3)]

    assert chords.value(chord(header, task("collect"))()) == [[1, 2], 3]


def test_a_task_of_a_header_can_add_a_task_to_it(
    chords: ChordHarness, task: Callable[..., Any]
) -> None:
    header = [task("echo", 1), task("add_to_chord", 2, 3)]

    assert sorted(chords.value(chord(header, task("collect"))())) == [1, 2, 3]
