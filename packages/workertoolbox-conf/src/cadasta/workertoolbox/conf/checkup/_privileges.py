"""Whether the database's role may do what it has to, and no more.

What each role needs is written in `docs/database.md` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from sqlalchemy import Connection, text

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok, warning


def _each(names: str, *privileges: str) -> set[tuple[str, str]]:
    return {(name, privilege) for name in names.split() for privilege in privileges}


#: Pairs of a table, view or sequence, and a privilege, by what a role is used for. A
#: privilege may be one on a column, as `SELECT (name)`.
NEEDED = {
    "worker": _each(
        "celery_taskmeta celery_tasksetmeta workertoolbox_chord",
        *("SELECT", "INSERT", "UPDATE", "DELETE"),
    )
    | _each("workertoolbox_chord_part", "SELECT", "INSERT", "DELETE")
    | _each("task_id_sequence taskset_id_sequence", "USAGE"),
    "monitor": _each("workertoolbox_task", "SELECT", "INSERT", "UPDATE")
    | _each("workertoolbox_attempt", "INSERT")
    | _each("workertoolbox_quarantine", "SELECT", "INSERT")
    | _each(
        "workertoolbox_planned workertoolbox_queued workertoolbox_untracked",
        *("SELECT", "INSERT", "UPDATE", "DELETE"),
    )
    | _each("workertoolbox_watermark", "SELECT", "UPDATE")
    | _each(
        "celery_taskmeta",
        *("SELECT (task_id)", "SELECT (date_done)", "SELECT (name)"),
        *("SELECT (queue)", "SELECT (root_id)", "SELECT (parent_id)"),
    )
    | _each("workertoolbox_quarantine_id_seq", "USAGE")
    | _each("workertoolbox_version", "SELECT"),
    "reader": _each(
        "celery_taskmeta celery_tasksetmeta workertoolbox_task workertoolbox_planned "
        "workertoolbox_queued workertoolbox_untracked workertoolbox_watermark "
        "workertoolbox_tasks workertoolbox_version",
        "SELECT",
    ),
    "purger": _each(
        "workertoolbox_task workertoolbox_planned workertoolbox_quarantine "
        "workertoolbox_chord celery_taskmeta celery_tasksetmeta",
        *("SELECT", "UPDATE (id)", "DELETE"),
    )
    | _each(
        "workertoolbox_attempt workertoolbox_chord_part workertoolbox_queued "
        "workertoolbox_untracked",
        *("SELECT", "DELETE"),
    )
    | _each("workertoolbox_tasks workertoolbox_version", "SELECT"),
}

_OBJECTS = {name for name, _ in chain.from_iterable(NEEDED.values())}
_SEQUENCES = {name for name, what in chain(*NEEDED.values()) if what == "USAGE"}
_OF_TABLES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")

_DOCUMENTED = "grant what docs/database.md says, and no more"

_ATTRIBUTES = text(
    "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    " FROM pg_roles WHERE rolname = current_user"
)
_MISSING = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name"
    " WHERE to_regclass(name) IS NULL"
)
_OWNED = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name JOIN pg_class"
    " ON pg_class.oid = to_regclass(name) WHERE pg_has_role(relowner, 'USAGE')"
)
_HELD = text(
    "SELECT CASE WHEN privilege = 'USAGE'"
    " THEN has_sequence_privilege(name, privilege)"
    " WHEN column_name <> '' THEN has_column_privilege(name, column_name, privilege)"
    " ELSE has_table_privilege(name, privilege) END"
    " FROM (SELECT CAST(:name AS text) AS name,"
    " CAST(:privilege AS text) AS privilege,"
    " CAST(:column AS text) AS column_name) AS asked"
)
_CREATE = text("SELECT has_schema_privilege(current_schema(), 'CREATE')")


def privileges(context: CheckContext) -> Iterator[Finding]:
    """Compare what PostgreSQL grants the role with what it is used for."""
    if context.database.dialect.name == "sqlite":
        yield ok("privileges", "SQLite has none, but those of the file")
        return
    needed: set[tuple[str, str]] = set()
    for role in context.roles:
        needed |= NEEDED[role]
    used = " and ".join(f"a {role}" for role in context.roles)
    with context.database.connect() as connection:
        user = connection.scalar(text("SELECT current_user"))
        missing = _names(connection, _MISSING)
        if missing & {name for name, _ in needed}:
            detail = f"there is no {', no '.join(sorted(missing))}"
            yield failed("privileges", detail, "run `celery -A … tasks upgrade`")
            return
        lacking = {pair for pair in needed if not _holds(connection, *pair)}
        more = list(_more(connection, needed, _OBJECTS - missing))
    if lacking:
        yield failed(
            "privileges",
            f"role {user!r} lacks {_shown(lacking)}, which {used} needs",
            _DOCUMENTED,
        )
    if more:
        detail = f"role {user!r} {'; '.join(more)}: more than {used} needs"
        yield warning("privileges", detail, _DOCUMENTED)
    if not lacking and not more:
        yield ok("privileges", f"role {user!r} may do what {used} has to, no more")


def _more(
    connection: Connection, needed: set[tuple[str, str]], there: set[str]
) -> Iterator[str]:
    """Yield what the role has beyond its needs; who has all is not told the rest."""
    attributes = connection.execute(_ATTRIBUTES).mappings().one()
    if attributes["rolsuper"]:
        yield "is a superuser"
        return
    held = [name.removeprefix("rol") for name, value in attributes.items() if value]
    if held:
        yield f"has the attributes {', '.join(held)}"
    if connection.scalar(_CREATE):
        yield "may CREATE in the schema"
    if owned := _names(connection, _OWNED):
        yield f"owns {', '.join(sorted(owned))}"
        return
    possible = {(name, what) for name in there - _SEQUENCES for what in _OF_TABLES}
    extra = {pair for pair in possible - needed if _holds(connection, *pair)}
    if extra:
        yield f"has {_shown(extra)}"


def _names(connection: Connection, query: object) -> set[str]:
    return set(connection.scalars(query, {"names": sorted(_OBJECTS)}))  # type: ignore[call-overload]


def _holds(connection: Connection, name: str, privilege: str) -> bool:
    what, _, column = privilege.partition(" ")
    asked = {"name": name, "privilege": what, "column": column.strip("()")}
    return bool(connection.scalar(_HELD, asked))


def _shown(pairs: Iterable[tuple[str, str]]) -> str:
    by_name: dict[str, list[str]] = {}
    for name, privilege in sorted(pairs):
        by_name.setdefault(name, []).append(privilege)
    return "; ".join(f"{', '.join(what)} on {name}" for name, what in by_name.items())
