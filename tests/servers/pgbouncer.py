"""PgBouncer, a connection pooler for PostgreSQL."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL

from servers.availability import skip_or_fail
from servers.executables import find_pgbouncer
from servers.ports import HOST, free_ports, is_listening
from servers.postgresql import server_account, server_folder
from support.processes import running

#: Accepts every client, and connects it as the user of the server's URL.
CONFIGURATION = """\
[databases]
* = host={server.host} port={server.port} user={server.username}{password}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


@contextmanager
def run_pgbouncer(server: URL, *, size: int) -> Iterator[URL]:
    """Run PgBouncer in transaction mode, and yield the URL of a database behind it.

    Args:
        server: The URL of the database.
        size: The number of connections to the database that all clients share.
    """
    program = find_pgbouncer()
    if program is None:
        skip_or_fail("PgBouncer", "pgbouncer is not installed")
    [port] = free_ports(1)
    password = f" password={server.password}" if server.password else ""
    with server_folder("pgbouncer") as folder:
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(
                server=server, password=password, host=HOST, port=port, size=size
            ),
            "utf-8",
        )
        with running(
            [program, configuration],
            folder=folder,
            ready=lambda: is_listening(port),
            # Every version waits for open transactions, but not for clients.
            stop_signal=signal.SIGINT,
            user=server_account(),
            print_output=False,
        ):
            yield server.set(host=HOST, port=port)
