"""Check that the database allows a connection for each worker process."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok, warning

#: Share of the connections above which one more host may exceed the limit.
_WARNING_SHARE = 0.8

#: -1 means no limit. `reserved_connections` exists since PostgreSQL 16.
_LIMITS = text(
    "SELECT current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int"
    " - coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int"
    " AS server_limit,"
    " datconnlimit AS database_limit, rolconnlimit AS role_limit,"
    " (SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL)"
    " AS all_connections,"
    " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
    " AS to_database,"
    " (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) AS by_role,"
    " (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user"
    " AND datname = current_database()) AS ours"
    " FROM pg_database, pg_roles"
    " WHERE datname = current_database() AND rolname = current_user"
)


def connections(context: CheckContext) -> Iterator[Finding]:
    """Compare the number of processes with the limits of server, database and role.

    Each worker process holds one connection. The connections of this role to this
    database count as workers; all others are expected to stay. A connection pool in
    between, such as pgbouncer, is not detected.
    """
    if context.database.dialect.name == "sqlite":
        yield ok("connections", "SQLite has no limit")
        return
    with context.database.connect() as connection:
        row = connection.execute(_LIMITS).one()
    free = {
        "the server": row.server_limit - (row.all_connections - row.ours),
        "the database": row.database_limit - (row.to_database - row.ours),
        "the role": row.role_limit - (row.by_role - row.ours),
    }
    if row.database_limit < 0:
        del free["the database"]
    if row.role_limit < 0:
        del free["the role"]
    narrowest = min(free, key=lambda name: free[name])
    allowed = max(free[narrowest], 0)
    if context.processes is None:
        needed = row.ours
        detail = f"connections of this role, including this check: {needed}"
    else:
        needed = context.processes
        detail = f"connections needed, one for each process: {needed}"
    detail += f"; {narrowest} has room for {allowed}"
    if needed > allowed:
        advice = "start fewer processes, raise the limit, or use pgbouncer"
        yield failed("connections", detail, advice)
    elif needed > _WARNING_SHARE * allowed:
        advice = "raise the limit before you start another host"
        yield warning("connections", detail, advice)
    else:
        yield ok("connections", detail)
