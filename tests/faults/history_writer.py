"""A process that stores messages as a monitor does, and results as workers do.

`python -m faults.history_writer DATABASE SEED NUMBER WRITERS PUBLISHED GRANTED` stores
as many rounds of tasks as the file GRANTED says, and prints a line for each stored
round. All messages have the time of publication PUBLISHED.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from itertools import count, takewhile
from pathlib import Path
from random import Random

from celery import states
from kombu.message import Message
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results import Redaction
from cadasta.workertoolbox.results._database.outages import is_outage
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._monitor.writer import Writer
from faults.history_tasks import Step, steps
from faults.rounds import Rounds
from support import task_histories
from support.polling import wait_until
from support.task_histories import History, open_history, task_message

#: Maximum number of messages in a batch.
BATCH_SIZE = 20

#: Possible errors of the clocks of workers.
CLOCK_ERRORS = (timedelta(minutes=-10), timedelta(minutes=10))

#: Seconds to wait for an outage to end.
TIMEOUT_S = 120.0


class HistoryWriter:
    """Stores the steps of one writer."""

    def __init__(self, past: History, random: Random) -> None:
        self._past = past
        self._random = random
        self._messages: list[Message] = []
        self._limit = BATCH_SIZE
        self._monitor = Writer(
            past.engine,
            redaction=Redaction(),
            max_bytes=65536,
            on_commit=lambda batch: None,
            should_stop=lambda: False,
        )

    def store(self, step: Step) -> None:
        """Store one step; messages are collected and stored in batches."""
        match step.action:
            case "publish":
                self._messages.append(task_message(step.id, retries=step.retries))
                if len(self._messages) >= self._limit:
                    self.flush()
            case "forget":
                _through_outages(lambda: self._past.app.backend.forget(step.id))
            case "shift":
                _through_outages(lambda: self._shift(step.id))
            case state:
                result = 1 if state == states.SUCCESS else ValueError("no")
                worker = f"w{self._random.randrange(10**9)}@host"
                self._past.store(
                    state, result, step.id, retries=step.retries, worker=worker
                )

    def flush(self) -> None:
        """Store the collected messages."""
        self._random.shuffle(self._messages)
        assert not self._messages or self._monitor.write(self._messages)
        self._messages.clear()
        self._limit = self._random.randint(1, BATCH_SIZE)

    def _shift(self, id: str) -> None:
        """Set the end of a task to the time of a worker with another clock."""
        now = datetime.now(UTC).replace(tzinfo=None)
        midnight = datetime.combine(now.date(), time())
        around = midnight + timedelta(seconds=self._random.uniform(-1, 1))
        ended_at = self._random.choice([*(now + each for each in CLOCK_ERRORS), around])
        same = taskmeta.c.task_id == id
        with self._past.engine.begin() as connection:
            connection.execute(
                update(taskmeta)
                .where(same, taskmeta.c.status.in_(ENDED))
                .values(date_done=ended_at)
            )


def _through_outages(act: Callable[[], object]) -> None:
    def attempt() -> bool:
        try:
            act()
        except DBAPIError as error:
            if not is_outage(error):
                raise
            raise AssertionError(str(error)) from error
        return True

    wait_until(attempt, timeout_s=TIMEOUT_S)


def main(
    database: str, seed: str, number: str, writers: str, published: str, granted: str
) -> None:
    """Store rounds until the file ends them."""
    task_histories.PUBLISHED = datetime.fromisoformat(published)
    random = Random(f"{seed}/{number}")
    with open_history(database) as past:
        past.app.conf.update(
            result_backend_max_retries=1000,
            result_backend_base_sleep_between_retries_ms=10,
            result_backend_max_sleep_between_retries_ms=300,
        )
        writer = HistoryWriter(past, random)
        rounds = Rounds(Path(granted))
        for round in takewhile(rounds.wait_for, count()):
            for step in steps(
                int(seed), round, writer=int(number), writers=int(writers)
            ):
                writer.store(step)
            writer.flush()
            print(f"stored round {round}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
