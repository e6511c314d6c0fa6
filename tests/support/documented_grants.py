"""The privileges that docs/how-to/database.md grants, and users with only these."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from support.statements import execute

DOCUMENT = Path(__file__).parents[2] / "docs" / "how-to" / "database.md"

_GRANT = re.compile(r"GRANT ([^;]+?)\s+ON (?:SEQUENCE |FUNCTION )?([^;]+?)\s+TO (\w+);")


def documented_grants(role: str) -> Sequence[str]:
    """Return the statements for a role, with `{role}` in place of its name."""
    blocks = re.findall("```sql\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    # A monitor has a second block, which only `--prometheus` needs.
    [first, *_] = [block for block in blocks if f"TO {role};" in block]
    statements = [each.strip() for each in first.split(";") if each.strip()]
    return [re.sub(rf"TO {role}$", "TO {role}", each) for each in statements]


@contextmanager
def granted_role(database: str, *statements: str) -> Iterator[str]:
    """Yield the database's URL for a new role with nothing but these privileges.

    Args:
        statements: SQL, with `{role}` in place of the role's name.
    """
    role = f"role_{uuid.uuid4().hex}"
    execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'geheim'")
    try:
        execute(database, *(each.format(role=role) for each in statements))
        url = make_url(database).set(username=role, password="geheim")
        yield url.render_as_string(hide_password=False)
    finally:
        execute(database, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@contextmanager
def user_with_role(database: str, role: str) -> Iterator[str]:
    """Create a user with the privileges of a role only, and yield its database URL."""
    statements = [
        each.replace(f"TO {role};", "TO {role};") for each in grant_statements(role)
    ]
    with granted_role(database, *statements) as url:
        yield url


def grant_statements(role: str) -> list[str]:
    """Return the `GRANT` statements of the document for a role."""
    matches = _GRANT.finditer(DOCUMENT.read_text("utf-8"))
    return [match[0] for match in matches if match[3] == role]


def single_privileges(role: str) -> Iterator[tuple[str, str]]:
    """Yield each privilege of a role and the table, column or sequence it is on."""
    for match in map(_GRANT.fullmatch, grant_statements(role)):
        assert match
        kinds = ("SEQUENCE ", "FUNCTION ")
        kind = next((each for each in kinds if f"ON {each}" in match[0]), "")
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
