"""One thread asks the database for all viewers, as long as there are some."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from polling import eventually

from cadasta.workertoolbox.results import QueryTimeout, TaskStore
from cadasta.workertoolbox.results.web.answers.refresher import MAX_QUESTIONS, Refresher


@dataclass(eq=False)
class Counting:
    """A question whose answers are the numbers 1, 2, 3 …

    Attributes:
        threads: The thread of each answer.
        gate: An answer waits for it.
        error: Raised instead of an answer.
    """

    threads: list[threading.Thread] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def asked(self) -> int:
        return len(self.threads)

    def answer(self, store: TaskStore) -> int:
        self.threads.append(threading.current_thread())
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return self.asked


Refreshers = Callable[..., Refresher]


@pytest.fixture
def refreshers(store: TaskStore) -> Iterator[Refreshers]:
    made = []

    def make(every_s: float = 0.01, forget_s: float = 60.0, **kept: float) -> Refresher:
        made.append(Refresher(store, every_s=every_s, forget_s=forget_s, **kept))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    assert eventually(condition, True)


def in_threads(number: int, call: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def test_viewers_of_a_new_question_wait_for_one_answer(refreshers: Refreshers) -> None:
    refresher, question = refreshers(every_s=60), Counting()
    question.gate.clear()
    found = []
    threads = in_threads(10, lambda: found.append(refresher.ask(question).value))
    wait_until(lambda: question.asked == 1)
    question.gate.set()
    for thread in threads:
        thread.join()

    assert found == [1] * 10
    assert refresher.ask(question).value == 1
    assert question.asked == 1


def test_a_question_is_asked_again_while_somebody_looks(refreshers: Refreshers) -> None:
    refresher, questions = refreshers(), [Counting(), Counting()]
    for question in questions:
        refresher.ask(question)
    wait_until(lambda: all(refresher.ask(each).value >= 3 for each in questions))

    assert len({each for question in questions for each in question.threads}) == 1
    assert refresher.ask(questions[0]).error is None


def test_the_thread_ends_without_viewers_and_starts_again(
    refreshers: Refreshers,
) -> None:
    refresher, question = refreshers(forget_s=0.1, keep_s=0), Counting()
    refresher.ask(question)
    first = question.threads[0]
    wait_until(lambda: not first.is_alive())
    asked = question.asked

    assert refresher.ask(question).value == asked + 1
    assert question.threads[-1] is not first


def test_an_answer_that_nobody_looks_at_is_kept_at_a_slower_pace(
    refreshers: Refreshers,
) -> None:
    refresher = refreshers(forget_s=0.05, keep_s=60, kept_every_s=0.2)
    begin, asked, expected = time.monotonic(), Counting(), Counting()
    refresher.ask(asked)
    refresher.keep(expected)
    wait_until(lambda: expected.asked >= 3)

    assert time.monotonic() - begin > 0.4
    kept = asked.asked
    wait_until(lambda: asked.asked > kept)
    kept = expected.asked
    expected.gate.clear()
    # The next viewer gets the answer that was kept, and the database is asked again.
    assert refresher.ask(expected).value == kept
    wait_until(lambda: expected.asked == kept + 1)
    expected.gate.set()


def test_the_error_of_an_answer_that_was_kept_is_not_shown_later(
    refreshers: Refreshers,
) -> None:
    refresher = refreshers(forget_s=0.01, keep_s=60, kept_every_s=60)
    question = Counting(error=QueryTimeout(after_s=1))
    refresher.keep(question)
    wait_until(lambda: question.asked == 1)
    question.error = None

    assert refresher.ask(question).value == 2


def test_a_stopped_thread_starts_with_the_next_question(refreshers: Refreshers) -> None:
    refresher, question = refreshers(), Counting()
    refresher.ask(question)
    refresher.stop()
    asked = question.asked

    assert not question.threads[0].is_alive()
    assert refresher.ask(question).value == asked + 1


def test_the_thread_ends_when_the_store_is_closed(
    store: TaskStore, refreshers: Refreshers
) -> None:
    question = Counting()
    refreshers().ask(question)
    store.close()

    assert not question.threads[0].is_alive()


def test_the_first_error_is_raised_until_there_is_an_answer(
    refreshers: Refreshers,
) -> None:
    refresher, question = refreshers(), Counting(error=QueryTimeout(after_s=1))
    with pytest.raises(QueryTimeout):
        refresher.ask(question)
    wait_until(lambda: question.asked >= 3)
    question.error = None

    def answered() -> bool:
        try:
            return refresher.ask(question).value > 3
        except QueryTimeout:
            return False

    wait_until(answered)


def test_after_an_error_the_last_answer_is_shown_with_it(
    refreshers: Refreshers,
) -> None:
    refresher, question = refreshers(), Counting()
    refresher.ask(question)
    question.error = QueryTimeout(after_s=1)
    wait_until(lambda: refresher.ask(question).error is not None)
    found = refresher.ask(question)
    assert found.error is question.error
    assert found.value < question.asked
    question.error = None
    wait_until(lambda: refresher.ask(question).error is None)

    assert refresher.ask(question).at > found.at


def test_an_answer_is_late_while_the_database_hangs(refreshers: Refreshers) -> None:
    refresher, question = refreshers(late_s=0.05), Counting()
    wait_until(lambda: not refresher.ask(question).is_late)
    question.gate.clear()
    wait_until(lambda: refresher.ask(question).is_late)
    question.gate.set()

    wait_until(lambda: not refresher.ask(question).is_late)


def test_an_answer_that_nobody_has_looked_at_is_not_late_at_once(
    refreshers: Refreshers,
) -> None:
    refresher = refreshers(forget_s=0.05, late_s=0.2, keep_s=60, kept_every_s=60)
    question = Counting()
    refresher.ask(question)
    question.gate.clear()
    forgotten_at = time.monotonic() + 0.3
    wait_until(lambda: time.monotonic() > forgotten_at)
    found = refresher.ask(question)
    question.gate.set()

    assert not found.is_late


def test_a_viewer_waits_no_longer_than_the_timeout_of_the_store(
    store: TaskStore, refreshers: Refreshers
) -> None:
    refresher, question = refreshers(), Counting()
    question.gate.clear()
    store.timeout_s = 0.05
    with pytest.raises(QueryTimeout):
        refresher.ask(question)
    question.gate.set()


def test_a_slow_answer_leaves_time_for_other_questions(
    refreshers: Refreshers,
) -> None:
    @dataclass(frozen=True)
    class Slow:
        times: list[float] = field(default_factory=list, hash=False)

        def answer(self, store: TaskStore) -> int:
            self.times.append(time.monotonic())
            threading.Event().wait(0.1)
            return 1

    refresher, slow = refreshers(), Slow()
    refresher.ask(slow)
    wait_until(lambda: len(slow.times) > 2)

    assert all(later - each >= 0.2 for each, later in pairwise(slow.times))


def test_only_the_questions_asked_last_are_kept(refreshers: Refreshers) -> None:
    refresher = refreshers()
    questions = [Counting() for _ in range(MAX_QUESTIONS + 3)]
    for question in questions:
        refresher.ask(question)
    asked = [each.asked for each in questions]
    wait_until(lambda: all(each.asked > asked[-1] + 2 for each in questions[3:]))

    assert sum(each.asked for each in questions[:1]) <= asked[0] + 1
