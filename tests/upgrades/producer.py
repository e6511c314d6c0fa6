"""A process that publishes tasks until a file exists: `producer.py IDS STOP`."""

from __future__ import annotations

import sys
from pathlib import Path

from support.polling import wait_until
from support.result_service import app

#: Maximum time in seconds for which a producer runs.
TIMEOUT_S = 3600.0


def main(ids: Path, stop: Path) -> None:
    """Publish a task every 50 ms, and write its id to a file; one in ten fails."""
    published = 0
    with ids.open("w") as file:

        def publish() -> bool:
            nonlocal published
            name, args = ("fail", []) if published % 10 == 9 else ("echo", [published])
            id = app.send_task(f"export.{name}", args).id
            print(id, file=file, flush=True)
            published += 1
            return stop.exists()

        wait_until(publish, timeout_s=TIMEOUT_S)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
