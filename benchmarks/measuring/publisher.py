"""Publish tasks without end, so that the workers always have some."""

from __future__ import annotations

import sys
import time
from itertools import count
from typing import Any

from measuring.tracked import app, project

#: Number of waiting tasks from which the publisher rests.
ENOUGH = 2000

#: Tasks between two looks at the queue.
BATCH = 200

#: Seconds for which it rests.
REST_S = 0.1


def main(queue: str) -> None:
    """Publish until the process is stopped."""
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        print("publishing", flush=True)
        for number in count():
            project.delay(number, "some/folder", size=1)
            while (
                not number % BATCH
                and channel.queue_declare(queue, passive=True).message_count > ENOUGH
            ):
                time.sleep(REST_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
