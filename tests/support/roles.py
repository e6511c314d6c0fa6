"""The roles of docs/database.md, with the rights that are granted there."""

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
    """Return the statements of the document that are for a role."""
    matches = _GRANT.finditer(DOCUMENT.read_text("utf-8"))
    return [match[0] for match in matches if match[3] == role]


def single_privileges(role: str) -> Iterator[tuple[str, str]]:
    """Yield each right of a role by itself, and what it is on."""
    for match in map(_GRANT.fullmatch, grant_statements(role)):
        assert match
        kind = "SEQUENCE " if "ON SEQUENCE" in match[0] else ""
        for right in _single(match[1]):
            for name in match[2].split(","):
                yield right, kind + name.strip()


def _single(listed: str) -> Iterator[str]:
    """Yield each right of a list, column by column where it is of some columns."""
    for right, columns in re.findall(r"(\w+)(?:\s+\(([^)]*)\))?", listed):
        names = [name.strip() for name in columns.split(",") if columns]
        yield from (f"{right} ({name})" for name in names)
        if not names:
            yield right


@contextmanager
def user_with_role(database: str, role: str) -> Iterator[str]:
    """Yield a database's URL for a user of its own with nothing but a role's rights."""
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
