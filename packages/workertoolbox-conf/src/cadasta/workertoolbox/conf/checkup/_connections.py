"""Whether the database has a connection for each process."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok, warning

#: Share of the connections beyond which one more host may be one too many.
_FULL = 0.8

#: Limits of -1 are none. `reserved_connections` came with PostgreSQL 16.
_LIMITS = text(
    "SELECT current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int"
    " - coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int"
    " AS of_server,"
    " datconnlimit AS of_database, rolconnlimit AS of_role,"
    " (SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL)"
    " AS connected,"
    " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
    " AS to_database,"
    " (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) AS by_role,"
    " (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user"
    " AND datname = current_database()) AS ours"
    " FROM pg_database, pg_roles"
    " WHERE datname = current_database() AND rolname = current_user"
)


def connections(context: CheckContext) -> Iterator[Finding]:
    """Compare the processes with what server, database and role allow.

    Each process of a worker holds one connection. Those of the role to this database
    count as workers; the others stay. A pool between is not seen.
    """
    if context.database.dialect.name == "sqlite":
        yield ok("connections", "SQLite has no limit")
        return
    with context.database.connect() as connection:
        row = connection.execute(_LIMITS).one()
    rooms = {
        "the server": row.of_server - (row.connected - row.ours),
        "the database": row.of_database - (row.to_database - row.ours),
        "the role": row.of_role - (row.by_role - row.ours),
    }
    if row.of_database < 0:
        del rooms["the database"]
    if row.of_role < 0:
        del rooms["the role"]
    narrowest = min(rooms, key=lambda name: rooms[name])
    room = max(rooms[narrowest], 0)
    if context.processes is None:
        wanted, who = row.ours, f"{row.ours} are connected as this role, with this one"
    else:
        wanted, who = context.processes, f"{context.processes} processes need one each"
    detail = f"{who}, and {narrowest} has room for {room}"
    if wanted > room:
        advice = "start fewer processes, raise the limit, or put pgbouncer between"
        yield failed("connections", detail, advice)
    elif wanted > _FULL * room:
        advice = "raise the limit before another host is started"
        yield warning("connections", detail, advice)
    else:
        yield ok("connections", detail)
