"""Publish tasks at a steady rate: `python -m faulted.producer RATE`."""

from __future__ import annotations

import os
import sys
import time
from itertools import count
from pathlib import Path

from faulted.journal import PUBLISHED, REFUSED, record
from faulted.service import FOLDER, NAME, QUEUE, make_app

#: The file that ends the producer.
STOP = "stop"


def main(rate: float) -> None:
    """Publish until the file exists; what a call blocks for is not made up."""
    app, folder = make_app(), Path(os.environ[FOLDER])
    task, due_s = app.tasks[NAME], time.monotonic()
    for number in count():
        if folder.joinpath(STOP).exists():
            return
        try:
            id = task.apply_async((number,), queue=QUEUE).id
        except Exception as error:  # A caller goes on, and its users see the error.
            record(folder, REFUSED, type(error).__name__)
        else:
            record(folder, PUBLISHED, id)
        due_s = max(due_s + 1 / rate, time.monotonic() - 1 / rate)
        time.sleep(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    main(float(sys.argv[1]))
