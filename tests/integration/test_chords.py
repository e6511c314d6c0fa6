"""A body starts once, by the task of its header that ends last, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest
from celery import Celery, chain, chord, group, states
from celery.exceptions import ChordError

from support.chord_harness import (
    ACCIDENT_QUEUE,
    SHARED_QUEUES,
    TIMEOUT_S,
    ChordHarness,
    header_of,
    open_chord_harness,
)
from support.chord_service import is_flag_set, set_flag
from support.polling import wait_until

#: Makes a signature from the name of one of the service's tasks, and its arguments.
Make: TypeAlias = Callable[..., Any]


@pytest.fixture(scope="module", params=["rabbitmq", "filesystem"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChordHarness]:
    """The service on a server and in a folder, with two workers of two processes."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp(request.param)
        service = stack.enter_context(open_chord_harness(request, folder))
        for _ in range(2):
            worker = stack.enter_context(service.worker(queues=SHARED_QUEUES))
            stack.callback(worker.kill)
        yield service


@pytest.fixture
def chords(service: ChordHarness) -> Iterator[ChordHarness]:
    """The same for one test, in which nothing polls for the end of a header."""
    yield service
    service.publications("")

    assert "celery.chord_unlock" not in {sent.task for sent in service.published}


@pytest.fixture
def app(chords: ChordHarness) -> Celery:
    return chords.app


#: Accidents need not be met on each database and broker.
on_rabbitmq = pytest.mark.parametrize(
    "service", ["rabbitmq"], indirect=True, scope="module"
)


@pytest.fixture
def task(app: Celery) -> Make:
    """Make a signature of a task of the service."""

    def make(name: str, *args: object, **kwargs: object) -> Any:
        return app.tasks[f"export.{name}"].s(*args, **kwargs)

    return make


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_a_body_gets_the_values_of_its_header_in_their_order(
    chords: ChordHarness, task: Make, size: int
) -> None:
    result = chord([task("echo", n) for n in range(size)], task("collect"))()

    assert chords.value(result) == list(range(size))


def test_the_order_is_that_of_the_header_and_not_that_of_the_ends(
    chords: ChordHarness, task: Make
) -> None:
    header = [task("echo_after_flag", 1, "first"), task("set_flag", 2, "first")]

    assert chords.value(chord(header, task("collect"))()) == [1, 2]


def test_the_body_of_an_empty_header_is_started_at_once(
    chords: ChordHarness, task: Make
) -> None:
    assert chords.value(chord([], task("collect"))()) == []


def test_a_header_may_be_a_generator(chords: ChordHarness, task: Make) -> None:
    result = chord((task("echo", n) for n in range(5)), task("collect"))()

    assert chords.value(result) == [0, 1, 2, 3, 4]


def test_a_chord_in_a_header_gives_the_value_of_its_body(
    chords: ChordHarness, task: Make
) -> None:
    inner = chord([task("echo", 1), task("echo", 2)], task("collect"))
    result = chord([task("echo", 0), inner, task("echo", 3)], task("collect"))()

    assert chords.value(result) == [0, [1, 2], 3]


def test_the_tasks_of_a_group_in_a_header_are_tasks_of_the_header(
    chords: ChordHarness, task: Make
) -> None:
    inner = group(task("echo", 1), task("echo", 2), group(task("echo", 3)))
    result = chord([task("echo", 0), inner, task("echo", 4)], task("collect"))()
    value = chords.value(result)

    assert sorted(value) == [0, 1, 2, 3, 4]
    assert value == [each.get(timeout=TIMEOUT_S) for each in header_of(result)]


def test_a_group_at_the_end_of_a_chain_in_a_header_gives_a_list(
    chords: ChordHarness, task: Make
) -> None:
    inner = chain(task("echo", 1), group(task("add", 1), task("add", 2)))
    result = chord([inner, task("echo", 0)], task("collect"))()

    assert chords.value(result) == [[2, 3], 0]


def test_a_chain_in_a_header_gives_the_value_of_its_last_task(
    chords: ChordHarness, task: Make
) -> None:
    inner = chain(task("echo", 1), task("add"), task("add"))
    result = chord([inner, task("echo", 0)], task("collect"))()

    assert chords.value(result) == [3, 0]


def test_a_chord_in_the_middle_of_a_chain_is_a_step(
    chords: ChordHarness, task: Make
) -> None:
    header = [task("add", 1), task("add", 2)]
    steps = chain(task("echo", 1), chord(header, task("collect")), task("collect"))

    assert chords.value(steps()) == [2, 3]


def test_groups_in_a_chain_wait_for_each_other(
    chords: ChordHarness, task: Make
) -> None:
    first = group(task("echo", 1), task("echo", 2))
    second = group(task("collect"), task("collect"))
    result = chain(first, second, task("collect"))()

    assert chords.value(result) == [[1, 2], [1, 2]]


def test_a_body_may_be_a_chord(chords: ChordHarness, task: Make) -> None:
    body = chord([task("collect"), task("collect")], task("collect"))
    result = chord([task("echo", 1), task("echo", 2)], body)()

    assert chords.value(result) == [[1, 2], [1, 2]]


def test_a_body_may_be_a_chain(chords: ChordHarness, task: Make) -> None:
    body = chain(task("collect"), task("collect"))
    result = chord([task("echo", 1), task("echo", 2)], body)()

    assert chords.value(result) == [1, 2]


def test_a_body_may_be_a_group(chords: ChordHarness, task: Make) -> None:
    body = group(task("collect"), task("collect"))
    result = chord([task("echo", 1), task("echo", 2)], body)()

    assert chords.value(result) == [[1, 2], [1, 2]]


def test_the_same_frozen_signature_may_be_in_a_header_twice(
    chords: ChordHarness, task: Make
) -> None:
    twice = task("echo", 1)
    twice.freeze()
    result = chord([twice, task("echo", 2), twice], task("collect"))()

    assert chords.value(result) == [1, 2, 1]


def test_the_same_chord_may_be_applied_twice(chords: ChordHarness, task: Make) -> None:
    twice = chord([task("echo", 1), task("echo", 2)], task("collect"))
    results = twice(), twice()

    assert results[0].id != results[1].id
    assert [chords.value(result) for result in results] == [[1, 2], [1, 2]]


def test_the_tasks_of_a_header_may_ignore_their_results(
    chords: ChordHarness, task: Make
) -> None:
    header = [task("echo_without_result", 1), task("echo", 2).set(ignore_result=True)]

    assert chords.value(chord(header, task("collect"))()) == [1, 2]


def test_a_task_of_a_header_may_be_replaced_by_a_task(
    chords: ChordHarness, task: Make
) -> None:
    header = [task("replace", task("echo", 1)), task("echo", 2)]

    assert chords.value(chord(header, task("collect"))()) == [1, 2]


def test_a_task_of_a_header_may_be_replaced_by_a_group(
    chords: ChordHarness, task: Make
) -> None:
    header = [task("replace_by_group", [1, 2]), task("echo", 3)]

    assert chords.value(chord(header, task("collect"))()) == [[1, 2], 3]


def test_a_task_of_a_header_may_be_replaced_by_a_chord(
    chords: ChordHarness, task: Make
) -> None:
    header = [task("replace_by_chord", [1, 2]), task("echo", 3)]

    assert chords.value(chord(header, task("collect"))()) == [[1, 2], 3]


def test_a_task_of_a_header_may_add_one_to_it(chords: ChordHarness, task: Make) -> None:
    header = [task("echo", 1), task("add_to_chord", 2, 3)]

    assert sorted(chords.value(chord(header, task("collect"))())) == [1, 2, 3]


@on_rabbitmq
def test_a_task_of_a_header_that_is_retried_is_waited_for(
    chords: ChordHarness, task: Make
) -> None:
    header = [task("retry", 1), task("echo", 2)]
    result = chord(header, task("collect"))()

    assert chords.value(result) == [1, 2]
    assert chords.runs(header_of(result)[0].id) == 3


@on_rabbitmq
def test_two_workers_that_end_a_header_at_once_start_its_body_once(
    chords: ChordHarness, task: Make
) -> None:
    results = [
        chord([task("echo", n) for n in range(200)], task("collect"))()
        for _ in range(2)
    ]

    for result in results:
        assert chords.value(result) == list(range(200))


@on_rabbitmq
def test_a_failed_task_fails_its_chord_and_the_others_run(
    chords: ChordHarness, task: Make
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


@on_rabbitmq
def test_an_errback_that_takes_the_request_is_called_once(
    chords: ChordHarness, task: Make
) -> None:
    key = "request"
    body = task("collect").on_error(task("errback_with_error", key=key))
    result = chord([task("fail", "no"), task("fail", "no")], body)()
    error = chords.failure(result)

    assert isinstance(error, ChordError)
    assert chords.errbacks(key) == [result.id]


@on_rabbitmq
def test_a_failed_step_of_a_chain_fails_the_chord(
    chords: ChordHarness, task: Make
) -> None:
    inner = chain(task("echo", 1), task("fail_with_values"), task("add"))
    result = chord([inner, task("echo", 2)], task("collect"))()
    last = header_of(result)[0]
    error = chords.failure(result)

    assert isinstance(error, ChordError)
    assert str(error) == f"Dependency {last.id} raised ValueError('refused: 1')"


@on_rabbitmq
@pytest.mark.parametrize("kind", ["task", "chain", "group", "chord"])
def test_a_failed_chord_in_a_header_fails_the_outer_one(
    chords: ChordHarness, task: Make, kind: str
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


@on_rabbitmq
def test_a_failed_body_of_a_chord_in_a_header_fails_the_outer_one(
    chords: ChordHarness, task: Make
) -> None:
    inner = chord([task("echo", 1)], task("fail_with_values"))
    result = chord([inner, task("echo", 2)], task("collect"))()
    error = chords.failure(result)

    assert str(error).startswith(
        f"Dependency {header_of(result)[0].id} raised ValueError"
    )


@on_rabbitmq
def test_a_failed_header_fails_each_task_of_a_body_that_is_a_group(
    chords: ChordHarness, task: Make
) -> None:
    body = group(task("collect"), task("collect"))
    result = chord([task("echo", 1), task("fail", "no")], body)()
    errors = chords.failure(result)

    assert list(map(repr, errors)) == ["ValueError('no')"] * 2


@on_rabbitmq
def test_a_failed_body_is_a_failure_of_its_own(
    chords: ChordHarness, task: Make
) -> None:
    body = task("fail_with_values").on_error(task("errback", "failed-body"))
    result = chord([task("echo", 1)], body)()
    error = chords.value(result)
    wait_until(lambda: chords.errbacks("failed-body"))
    chords.settle()

    assert repr(error) == "ValueError('refused: [1]')"
    assert chords.errbacks("failed-body") == [result.id]


@on_rabbitmq
def test_a_revoked_task_fails_the_chord(
    chords: ChordHarness, app: Celery, task: Make
) -> None:
    revoked = task("echo", 1)
    id = revoked.freeze().id
    replies = app.control.revoke(id, reply=True, limit=2, timeout=10)
    result = chord([revoked, task("echo", 2)], task("collect"))()
    error = chords.failure(result)

    assert replies and len(replies) == 2
    assert isinstance(error, ChordError)
    assert str(error) == f"Dependency {id} raised TaskRevokedError('revoked')"


@on_rabbitmq
def test_a_task_that_takes_its_process_along_fails_the_chord(
    chords: ChordHarness, task: Make
) -> None:
    accidents = [task("die"), task("exit", 0), task("exit", 3)]
    results = [
        chord([accident, task("echo", 1)], task("collect"))() for accident in accidents
    ]
    for result in results:
        lost, other = header_of(result)
        error = chords.failure(result)

        assert isinstance(error, ChordError)
        assert str(error).startswith(f"Dependency {lost.id} raised WorkerLostError(")
        assert other.get(timeout=TIMEOUT_S) == 1


@on_rabbitmq
def test_a_task_that_is_delivered_twice_is_counted_once(
    chords: ChordHarness, task: Make
) -> None:
    header = [task("publish_again", 1), task("echo_after_flag", 2, "ran twice")]
    result = chord(header, task("collect"))()
    twice = header_of(result)[0].id
    wait_until(lambda: chords.ends(twice) == 2)
    early = chords.publications(result.id)
    set_flag("ran twice")

    assert early == 0
    assert chords.value(result) == [1, 2]


@on_rabbitmq
def test_a_task_that_is_delivered_twice_leaves_the_body_to_who_publishes_it(
    chords: ChordHarness, task: Make
) -> None:
    result = chord([task("publish_again", 1)], task("collect_after_wait"))()
    twice = header_of(result)[0].id
    wait_until(lambda: is_flag_set(f"waits {result.id}") and chords.runs(twice) == 2)
    # Time for the other one to see that the body is due.
    chord([task("echo", 1)], task("collect"))().get(timeout=TIMEOUT_S)
    early = chords.publications(result.id)
    set_flag(f"goes on {result.id}")

    assert early == 0
    assert chords.value(result) == [1]


@on_rabbitmq
def test_a_task_that_comes_again_after_its_process_died_is_counted_once(
    chords: ChordHarness, task: Make
) -> None:
    result = chord([task("die_once", 1), task("echo", 2)], task("collect"))()

    assert chords.value(result) == [1, 2]
    assert chords.runs(header_of(result)[0].id) == 2


@on_rabbitmq
def test_a_process_that_dies_before_it_publishes_the_body_does_not_lose_it(
    chords: ChordHarness, task: Make
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


@on_rabbitmq
def test_a_task_of_a_killed_worker_comes_again_and_is_counted_once(
    chords: ChordHarness, task: Make
) -> None:
    header = [task("hang_once", 1).set(queue=ACCIDENT_QUEUE), task("echo", 2)]
    with chords.worker() as first:
        result = chord(header, task("collect"))()
        wait_until(lambda: is_flag_set(f"hangs {header_of(result)[0].id}"))
        first.kill()
    with chords.worker():
        assert chords.value(result) == [1, 2]
        assert chords.runs(header_of(result)[0].id) == 2


@on_rabbitmq
def test_a_worker_that_is_killed_before_it_publishes_the_body_does_not_lose_it(
    chords: ChordHarness, task: Make
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


@on_rabbitmq
def test_a_broker_that_is_cut_off_while_the_body_is_published_gets_it_once(
    chords: ChordHarness, task: Make
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
