"""The GRANT statements of docs/database.md, and roles with nothing else."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from support.statements import execute

DOCUMENT = Path(__file__).parents[2] / "docs" / "database.md"


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
