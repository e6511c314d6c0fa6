"""Check that the database role has the privileges that it needs, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._database import UPGRADE
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok, warning
from cadasta.workertoolbox.results import (
    HeldPrivileges,
    Privilege,
    compare_privileges,
)

_GRANT = "grant the privileges listed in docs/how-to/database.md, and no others"


def privileges(context: CheckContext) -> Iterator[Finding]:
    """Compare the privileges of the role with those that its uses need."""
    if context.database.dialect.name == "sqlite":
        yield ok("privileges", "SQLite has only the permissions of the file")
        return
    uses = " and ".join(f"a {role}" for role in context.roles)
    with context.database.connect() as connection:
        held = compare_privileges(connection, context.roles)
    if held.missing_relations:
        names = ", ".join(sorted(held.missing_relations))
        yield failed("privileges", f"these tables do not exist: {names}", UPGRADE)
        return
    role = f"role {held.user!r}"
    if held.lacking:
        detail = f"{role} lacks {_shown(held.lacking)}, which {uses} needs"
        yield failed("privileges", detail, _GRANT)
    excess = list(_excess(held))
    if excess:
        detail = f"{role} {'; '.join(excess)}: more than {uses} needs"
        yield warning("privileges", detail, _GRANT)
    if not held.lacking and not excess:
        detail = f"{role} has the privileges of {uses}, and no others"
        yield ok("privileges", detail)


def _excess(held: HeldPrivileges) -> Iterator[str]:
    """Yield what the role has beyond its needs."""
    if held.is_superuser:
        yield "is a superuser"
    if held.attributes:
        yield f"has the attributes {', '.join(held.attributes)}"
    if held.can_create:
        yield "may CREATE in the schema"
    if held.owned_relations:
        owned = sorted(held.owned_relations)
        # The role of a Django project owns all of them.
        are_many = len(owned) > 1
        yield f"owns {f'{len(owned)} tables and views' if are_many else owned[0]}"
    if held.excess:
        yield f"has {_shown(held.excess)}"


def _shown(privileges: Iterable[Privilege]) -> str:
    actions: dict[str, list[str]] = {}
    for relation, action in sorted(privileges):
        actions.setdefault(relation, []).append(action)
    return "; ".join(
        f"{', '.join(each)} on {relation}" for relation, each in actions.items()
    )
