"""The roles of docs/database.md and the privileges that it grants to them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import NullPool, create_engine, make_url

DOCUMENT = Path(__file__).parents[2] / "docs" / "database.md"

_GRANT = re.compile(r"GRANT ([^;]+?)\s+ON (?:SEQUENCE )?([^;]+?)\s+TO (\w+);")


def grant_statements(role: str) -> list[str]:
    """Return the `GRANT` statements of the document for a role."""
    matches = _GRANT.finditer(DOCUMENT.read_text("utf-8"))
    return [match[0] for match in matches if match[3] == role]


def single_privileges(role: str) -> Iterator[tuple[str, str]]:
    """Yield each privilege of a role and the table, column or sequence it is on."""
    for match in map(_GRANT.fullmatch, grant_statements(role)):
        assert match
        kind = "SEQUENCE " if "ON SEQUENCE" in match[0] else ""
        for privilege in _split(match[1]):
            for name in match[2].split(","):
                yield privilege, kind + name.strip()


def _split(privileges: str) -> Iterator[str]:
    """Yield the privileges of a list; one on columns is yielded for each column."""
    for privilege, columns in re.findall(r"(\w+)(?:\s+\(([^)]*)\))?", privileges):
        names = [name.strip() for name in columns.split(",") if columns]
        yield from (f"{privilege} ({name})" for name in names)
        if not names:
            yield privilege


@contextmanager
def user_with_role(database: str, role: str) -> Iterator[str]:
    """Create a user with the privileges of a role only, and yield its database URL."""
    user = f"{role}_{uuid.uuid4().hex}"
    statements = [
        each.replace(f"TO {role};", f"TO {user};") for each in grant_statements(role)
    ]
    owner = create_engine(database, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with owner.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {user} LOGIN PASSWORD 'geheim'")
        try:
            for statement in statements:
                connection.exec_driver_sql(statement)
            url = make_url(database).set(username=user, password="geheim")
            yield url.render_as_string(hide_password=False)
        finally:
            connection.exec_driver_sql(f"DROP OWNED BY {user}; DROP ROLE {user}")
