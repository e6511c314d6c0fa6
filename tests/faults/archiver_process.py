"""A process that archives: `python -m faults.archiver_process DATABASE BATCH_SIZE`."""

from __future__ import annotations

import logging
import sys
from threading import Event

from sqlalchemy import make_url

from cadasta.workertoolbox.results import open_engine
from cadasta.workertoolbox.results._history import tidying
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.retention import Retention
from cadasta.workertoolbox.results._monitor import archiving
from cadasta.workertoolbox.results._monitor.signals import stop_on_signals

#: Seconds from the end of a task until it is archived. Clocks are ten minutes fast.
DELAY_S = -700.0

#: Seconds between two searches for tasks, and between two runs of the housekeeping.
INTERVAL_S = 0.05
TIDY_S = 1.0

#: Application name of the sessions of archivers.
APPLICATION = "archiver"


def main(database: str, batch_size: str) -> None:
    """Archive until a signal."""
    logging.basicConfig(level="INFO")
    periods_s = {**tidying.PERIODS_S, tidying.tidy: TIDY_S}
    vars(archiving).update(INTERVAL_S=INTERVAL_S, PERIODS_S=periods_s)
    stopping = Event()
    stop_on_signals(stopping.set)
    url = make_url(database).update_query_dict({"application_name": APPLICATION})
    engine = open_engine(url, pool_size=1)
    options = ArchiveOptions(
        delay_s=DELAY_S,
        batch_size=int(batch_size),
        retention=Retention({"FAILURE": "365d"}),
    )
    archiving.Archiving(engine, options, should_stop=stopping.is_set).run()
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
