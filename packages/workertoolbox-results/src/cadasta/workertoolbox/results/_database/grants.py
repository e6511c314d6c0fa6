"""Privileges on new tables and columns, for the roles of a database that exists."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text

_GRANTEES = text("""
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass(:relation)
AND privilege_type = :privilege AND grantee <> relowner
""")


def extend_grants(
    connection: Connection, grants: Iterable[tuple[str, str, str]]
) -> None:
    """Execute statements for the roles that hold a privilege already.

    SQLite has no roles, so that nothing happens there.

    Args:
        grants: A table or view, a privilege on it, and a statement for each role that
            holds it; `{role}` in the statement is the name of the role.
    """
    if connection.dialect.name != "postgresql":
        return
    for relation, privilege, statement in grants:
        held = {"relation": relation, "privilege": privilege}
        for role in connection.execute(_GRANTEES, held).scalars().all():
            connection.exec_driver_sql(statement.format(role=role))
