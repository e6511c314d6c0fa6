"""Archiving the results of a backend at once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine, select

from cadasta.workertoolbox.results._database.tables import history, rollup
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.contributions import (
    contribution_columns,
    contributions_of,
)
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results.backend import Backend


def archive(backend: Backend, **options: Any) -> int:
    """Archive the results that are stored, and return their number."""
    engine = create_engine(backend.database.engine.url)
    with engine.begin() as connection:
        count = archive_batch(connection, ArchiveOptions(**{"delay_s": 0, **options}))
    engine.dispose()
    return count


def check_rollups(engine: Engine) -> None:
    """Compare the rollups with those of the rows of the history.

    Raises:
        AssertionError: They differ.
    """
    rows = select(rollup).order_by(*rollup.primary_key.columns)
    with engine.connect() as connection:
        stored = connection.execute(rows).all()
        connection.execute(rollup.delete())
        columns = contribution_columns(connection.dialect.name)
        ended = connection.execute(select(*columns).select_from(history)).all()
        add_contributions(connection, contributions_of(ended))
        counted = connection.execute(rows).all()
        connection.rollback()
    assert stored == counted
