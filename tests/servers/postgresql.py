"""A PostgreSQL server, on which each test gets a database."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from servers.availability import skip_or_fail
from servers.executables import find_postgresql
from servers.ports import HOST, free_ports
from support.processes import Process, running

#: The account that runs the server if the tests run as root, which PostgreSQL refuses.
#: Debian's packages create it.
ACCOUNT = "postgres"

#: The folder of the cluster's files, in the folder of the server.
DATA = "data"

#: Options of `initdb`.
INITDB = (
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
)

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
}

#: Settings for data that may be lost in a crash.
NOT_DURABLE = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}

#: Settings for measurements: a commit waits for the disk, which is the default.
DURABLE: Mapping[str, str] = {}

#: Settings for data that must survive a crash of the server, but not of the machine.
SURVIVING_KILLS = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class PostgreSQL:
    """A running server.

    Attributes:
        maintenance: The URL of the database from which others are created.
        template: The name of the database with the schema, which is copied.
    """

    maintenance: URL
    template: str

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URL of a database with the schema, as long as the block lasts."""
        name = _new_name()
        _execute(self.maintenance, f"CREATE DATABASE {name} TEMPLATE {self.template}")
        try:
            yield _url_of(self.maintenance, name)
        finally:
            self.drop(name)

    def renew(self, name: str, *, template: str | None = None) -> str:
        """Create a database, in place of one with the same name; return its URL.

        Args:
            template: The database that is copied; None for the one with the schema.
        """
        self.drop(name)
        template = template or self.template
        _execute(self.maintenance, f"CREATE DATABASE {name} TEMPLATE {template}")
        return _url_of(self.maintenance, name)

    def drop(self, name: str) -> None:
        """Drop a database, if it exists."""
        _execute(self.maintenance, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def serve(
    migrate: Callable[[str], object], *, settings: Mapping[str, str] = NOT_DURABLE
) -> Iterator[PostgreSQL]:
    """Run a server, or use the one of `WORKERTOOLBOX_TEST_POSTGRESQL_URL`.

    Args:
        migrate: Creates the schema in the database with a URL. It is called once.
        settings: Additional settings of a server that is run.
    """
    with _maintenance(settings) as maintenance:
        template = _new_name()
        _execute(maintenance, f"CREATE DATABASE {template} TEMPLATE template0")
        try:
            migrate(_url_of(maintenance, template))
            yield PostgreSQL(maintenance, template)
        finally:
            _execute(maintenance, f"DROP DATABASE {template} WITH (FORCE)")


@dataclass(frozen=True)
class Cluster:
    """The files and the port of a server that can be started several times.

    Attributes:
        url: The URL of the database `postgres`.
        folder: The folder of the files.
    """

    url: URL
    folder: Path
    _program: Path
    _settings: Mapping[str, str]

    @contextmanager
    def running(self) -> Iterator[Process]:
        """Run the server until the end of the block, or until it is killed."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        data, port = self.folder / DATA, str(self.url.port)
        with running(
            [self._program, "-D", data, "-p", port, *options],
            folder=self.folder,
            ready=lambda: _is_ready(self.url),
            # Fast shutdown, which does not wait for clients to disconnect.
            stop_signal=signal.SIGINT,
            # A killed server would leave a shared memory segment behind.
            death_signal=signal.SIGINT,
            user=server_account(),
            print_output=False,
        ) as process:
            yield process


@contextmanager
def cluster(
    settings: Mapping[str, str] = NOT_DURABLE, *, parent: Path | None = None
) -> Iterator[Cluster]:
    """Create a server that the test starts and stops.

    Args:
        settings: Additional settings.
        parent: Where the folder of its files is created; by default, where the system
            has its temporary files.
    """
    program = find_postgresql()
    if program is None:
        skip_or_fail("PostgreSQL", "postgresql is not installed")
    with server_folder("postgresql", parent) as folder:
        with running(
            [program.with_name("initdb"), "--pgdata", folder / DATA, *INITDB],
            folder=folder,
            user=server_account(),
            print_output=False,
        ) as initdb:
            if initdb.wait() != 0:
                raise ChildProcessError(initdb.tail)
        [port] = free_ports(1)
        url = URL.create(
            "postgresql+psycopg2", "postgres", None, HOST, port, "postgres"
        )
        yield Cluster(url, folder, program, {**SETTINGS, **settings})


@contextmanager
def refuse_connections(database: URL) -> Iterator[None]:
    """Refuse connections to a database, and close the open ones, during the block."""
    maintenance = database.set(database="postgres")
    admin = create_engine(maintenance, isolation_level="AUTOCOMMIT")
    allow = f'ALTER DATABASE "{database.database}" ALLOW_CONNECTIONS'
    cut = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
    )
    with admin.connect() as connection:
        connection.execute(text(f"{allow} false"))
        connection.execute(cut, {"name": database.database})
        try:
            yield
        finally:
            connection.execute(text(f"{allow} true"))
    admin.dispose()


@contextmanager
def server_folder(server: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder that the account of the server owns."""
    # Outside of pytest's folders, which only the account of the tests may enter.
    prefix = f"workertoolbox-{server}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as folder:
        if name := server_account():
            shutil.chown(folder, name, name)
        yield Path(folder)


def server_account() -> str | None:
    """Return the account that must run the server; None for that of the tests."""
    return ACCOUNT if os.geteuid() == 0 else None


@contextmanager
def _maintenance(settings: Mapping[str, str]) -> Iterator[URL]:
    if url := os.environ.get("WORKERTOOLBOX_TEST_POSTGRESQL_URL"):
        yield make_url(url).set(drivername="postgresql+psycopg2")
        return
    with cluster(settings) as own, own.running():
        yield own.url


def _execute(url: URL, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def _is_ready(url: URL) -> bool:
    try:
        _execute(url, "SELECT 1")
    except OperationalError:
        return False
    return True


def _url_of(maintenance: URL, name: str) -> str:
    return maintenance.set(database=name).render_as_string(hide_password=False)


def _new_name() -> str:
    return f"workertoolbox_{uuid.uuid4().hex}"
