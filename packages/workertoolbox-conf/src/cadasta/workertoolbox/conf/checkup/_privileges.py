"""Whether the database's role may do what it has to, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok, warning
from cadasta.workertoolbox.results import (
    HeldPrivileges,
    Privilege,
    compare_privileges,
)

_DOCUMENTED = "grant what docs/database.md says, and no more"


def privileges(context: CheckContext) -> Iterator[Finding]:
    """Compare what PostgreSQL grants the role with what it is used for."""
    if context.database.dialect.name == "sqlite":
        yield ok("privileges", "SQLite has none, but those of the file")
        return
    used = " and ".join(f"a {role}" for role in context.roles)
    with context.database.connect() as connection:
        held = compare_privileges(connection, context.roles)
    if held.missing_relations:
        detail = f"there is no {', no '.join(sorted(held.missing_relations))}"
        yield failed("privileges", detail, "run `celery -A … tasks upgrade`")
        return
    if held.lacking:
        yield failed(
            "privileges",
            f"role {held.user!r} lacks {_shown(held.lacking)}, which {used} needs",
            _DOCUMENTED,
        )
    more = list(_more(held))
    if more:
        detail = f"role {held.user!r} {'; '.join(more)}: more than {used} needs"
        yield warning("privileges", detail, _DOCUMENTED)
    if not held.lacking and not more:
        detail = f"role {held.user!r} may do what {used} has to, no more"
        yield ok("privileges", detail)


def _more(held: HeldPrivileges) -> Iterator[str]:
    """Yield what the role has beyond its needs."""
    if held.is_superuser:
        yield "is a superuser"
    if held.attributes:
        yield f"has the attributes {', '.join(held.attributes)}"
    if held.can_create:
        yield "may CREATE in the schema"
    if held.owned_relations:
        yield f"owns {', '.join(sorted(held.owned_relations))}"
    if held.excess:
        yield f"has {_shown(held.excess)}"


def _shown(privileges: Iterable[Privilege]) -> str:
    actions: dict[str, list[str]] = {}
    for relation, action in sorted(privileges):
        actions.setdefault(relation, []).append(action)
    return "; ".join(f"{', '.join(what)} on {name}" for name, what in actions.items())
