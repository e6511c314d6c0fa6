"""The tasks that writers store, and how the history must show them at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import NamedTuple

from celery import states

#: Tasks of one round.
ROUND = 45

#: Probability that a second monitor gets the same message.
REDELIVERED = 0.3

#: Tasks that a writer works on at the same time.
WIDTH = 30


class Step(NamedTuple):
    """An action of a writer: `publish`, a state to store, `forget` or `shift`."""

    action: str
    id: str
    retries: int = 0


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        actions: States that workers store, and actions on the result.
        status: The status at the end.
        messages: The number of its messages.
        attempts: The number of attempts before the last one.
    """

    actions: tuple[str, ...]
    status: str = states.SUCCESS
    messages: int = 1
    attempts: int = 0


KINDS = {
    "succeeded": Kind((states.SUCCESS,)),
    "failed": Kind((states.FAILURE,), states.FAILURE),
    "untracked": Kind((states.SUCCESS,), messages=0),
    "retried": Kind((states.RETRY, states.SUCCESS), messages=2, attempts=1),
    "repeated": Kind((states.FAILURE, states.SUCCESS), attempts=1),
    "duplicated": Kind((states.SUCCESS, states.SUCCESS), attempts=1),
    "forgotten": Kind((states.SUCCESS, "forget")),
    "shifted": Kind((states.SUCCESS, "shift")),
    "shifted-retried": Kind(
        (states.RETRY, states.SUCCESS, "shift"), messages=2, attempts=1
    ),
}


def expected(rounds: int) -> dict[str, Kind]:
    """Return all tasks of some rounds, by id."""
    return {id: kind for number in range(rounds) for id, kind in _tasks(number).items()}


def steps(seed: int, round: int, *, writer: int, writers: int) -> Iterator[Step]:
    """Yield the actions of one of several writers in a round, in a random order.

    One writer stores the states of a task, another one its messages. Some messages are
    stored by others too.
    """
    random = Random(f"{seed}/{round}/{writer}")
    lanes: list[deque[Step]] = []
    for number, (id, kind) in enumerate(_tasks(round).items()):
        if number % writers == writer:
            lanes.append(deque(_results(id, kind)))
        for retries in range(kind.messages):
            if (number + 1) % writers == writer or random.random() < REDELIVERED:
                lanes.append(deque([Step("publish", id, retries)]))
    return _interleaved(lanes, random)


def _tasks(round: int) -> dict[str, Kind]:
    kinds = [*KINDS.items()]
    pairs = (kinds[number % len(kinds)] for number in range(ROUND))
    return {
        f"{round:04}-{number:03}-{name}": kind
        for number, (name, kind) in enumerate(pairs)
    }


def _results(id: str, kind: Kind) -> Iterable[Step]:
    retries = 0
    for action in kind.actions:
        yield Step(action, id, retries)
        retries += action == states.RETRY


def _interleaved(lanes: Sequence[deque[Step]], random: Random) -> Iterator[Step]:
    waiting = iter(lanes)
    active = [*islice(waiting, WIDTH)]
    while active:
        lane = random.choice(active)
        yield lane.popleft()
        if not lane:
            active.remove(lane)
            active += islice(waiting, 1)
