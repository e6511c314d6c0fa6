"""Fleets with a new database for each example: of SQLite, or of PostgreSQL.

All examples have the same `Fleet`: SQLAlchemy compiles the statements of each engine.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from alembic import command
from sqlalchemy import create_engine

from cadasta.workertoolbox.results import upgrade
from cadasta.workertoolbox.results._database.upgrade import alembic_config
from servers.postgresql import PostgreSQL
from state_machine.fleet import Fleet
from support.brokers import result_backend_url
from upgrades.last_release import REVISION


class Fleets(Protocol):
    """Where examples get a fleet."""

    def fleet(self, *, old: bool) -> Fleet:
        """Return the fleet with a new database.

        Args:
            old: Whether the database is that of the last release.
        """


class SQLite:
    """Fleets with a database of SQLite in a folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "results.sqlite"
        self._templates = [folder / name for name in ("new.sqlite", "old.sqlite")]
        new, old = (f"sqlite:///{path}" for path in self._templates)
        upgrade(result_backend_url(new))
        create_old_tables(old)
        shutil.copy(self._templates[0], self._path)
        self._fleet = Fleet(f"sqlite:///{self._path}")

    def fleet(self, *, old: bool) -> Fleet:
        """Return the fleet with a new database; see `Fleets`."""
        self._fleet.disconnect()
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        shutil.copy(self._templates[old], self._path)
        self._fleet.begin()
        return self._fleet


class OnServer:
    """Fleets with a database on a server of PostgreSQL."""

    #: The name of the database, and of one with the tables of the last release.
    NAME, OLD = "workertoolbox_machine", "workertoolbox_machine_old"

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        create_old_tables(server.renew(self.OLD, template="template0"))
        self._fleet = Fleet(server.renew(self.NAME))

    def fleet(self, *, old: bool) -> Fleet:
        """Return the fleet with a new database; see `Fleets`."""
        self._fleet.disconnect()
        self._server.renew(self.NAME, template=self.OLD if old else None)
        self._fleet.begin()
        return self._fleet

    def drop(self) -> None:
        """Drop the databases."""
        self._fleet.disconnect()
        for name in (self.NAME, self.OLD):
            self._server.drop(name)


def create_old_tables(url: str) -> None:
    """Create the tables of the last release in an empty database."""
    engine = create_engine(url)
    # Some migrations end their transaction, so none may have begun.
    with engine.connect() as connection:
        command.upgrade(alembic_config(connection), REVISION)
        connection.commit()
    engine.dispose()
