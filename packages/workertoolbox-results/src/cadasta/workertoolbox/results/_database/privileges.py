"""Privileges on the tables: those that database roles need, and those that a role has.

`docs/how-to/database.md` lists the same privileges as GRANT statements.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, TextClause, text


class Privilege(NamedTuple):
    """A privilege on a table, view, sequence or function.

    Attributes:
        relation: Name of the table, view, sequence or function.
        action: As in GRANT: `SELECT`, `USAGE`, or for one column, `SELECT (name)`.
    """

    relation: str
    action: str


def _grant(relations: str, *actions: str) -> frozenset[Privilege]:
    return frozenset(
        Privilege(relation, action)
        for relation in relations.split()
        for action in actions
    )


#: The privileges that a role needs, by its use.
ROLE_PRIVILEGES = {
    "worker": _grant(
        "celery_taskmeta celery_tasksetmeta workertoolbox_chord",
        *("SELECT", "INSERT", "UPDATE", "DELETE"),
    )
    | _grant("workertoolbox_chord_part", "SELECT", "INSERT", "DELETE")
    | _grant("workertoolbox_history", "SELECT", "UPDATE (forgotten)")
    | _grant("workertoolbox_release", "INSERT")
    | _grant("workertoolbox_task", "SELECT (id)")
    | _grant("task_id_sequence taskset_id_sequence", "USAGE"),
    "monitor": _grant("workertoolbox_task", "SELECT", "INSERT", "UPDATE", "DELETE")
    | _grant("workertoolbox_attempt", "SELECT", "INSERT", "DELETE")
    | _grant("workertoolbox_quarantine", "SELECT", "INSERT")
    | _grant(
        "workertoolbox_planned workertoolbox_rollup workertoolbox_backlog "
        "workertoolbox_monitor workertoolbox_schedule workertoolbox_retention "
        "celery_taskmeta",
        *("SELECT", "INSERT", "UPDATE", "DELETE"),
    )
    | _grant("workertoolbox_history", "SELECT", "INSERT", "DELETE")
    | _grant(
        "workertoolbox_error_group workertoolbox_release", "SELECT", "INSERT", "UPDATE"
    )
    | _grant("workertoolbox_quarantine_id_seq task_id_sequence", "USAGE")
    | _grant("workertoolbox_day_value", "SELECT", "DELETE")
    | _grant("workertoolbox_live workertoolbox_version", "SELECT")
    | _grant(
        "workertoolbox_add_day workertoolbox_drop_day workertoolbox_analyze_history",
        "EXECUTE",
    ),
    "reader": _grant(
        "celery_taskmeta celery_tasksetmeta workertoolbox_task workertoolbox_planned "
        "workertoolbox_attempt workertoolbox_history workertoolbox_live "
        "workertoolbox_tracked workertoolbox_tasks workertoolbox_rollup "
        "workertoolbox_backlog workertoolbox_error_group workertoolbox_schedule "
        "workertoolbox_monitor workertoolbox_operation workertoolbox_operation_task "
        "workertoolbox_quarantine workertoolbox_figures workertoolbox_queues "
        "workertoolbox_error_groups workertoolbox_schedules workertoolbox_day_value "
        "workertoolbox_release workertoolbox_version workertoolbox_retention",
        "SELECT",
    )
    | _grant("workertoolbox_chord", "SELECT (id)", "SELECT (size)", "SELECT (added)")
    | _grant("workertoolbox_chord_part", "SELECT (chord_id)", "SELECT (task_id)"),
    "operator": _grant(
        "workertoolbox_operation workertoolbox_operation_task",
        *("SELECT", "INSERT", "UPDATE"),
    )
    | _grant("workertoolbox_chord workertoolbox_chord_part", "SELECT", "INSERT")
    | _grant(
        "celery_taskmeta workertoolbox_task workertoolbox_planned "
        "workertoolbox_history workertoolbox_live workertoolbox_tracked "
        "workertoolbox_monitor workertoolbox_day_value workertoolbox_version",
        "SELECT",
    ),
    "purger": _grant(
        "workertoolbox_task workertoolbox_planned workertoolbox_quarantine "
        "workertoolbox_chord workertoolbox_history workertoolbox_operation "
        "celery_tasksetmeta",
        *("SELECT", "UPDATE (id)", "DELETE"),
    )
    | _grant("celery_taskmeta", "SELECT", "UPDATE (archived_at)", "DELETE")
    | _grant(
        "workertoolbox_attempt workertoolbox_chord_part workertoolbox_schedule "
        "workertoolbox_operation_task",
        *("SELECT", "DELETE"),
    )
    | _grant("workertoolbox_error_group", "SELECT", "UPDATE")
    | _grant("workertoolbox_operation", "INSERT")
    | _grant("workertoolbox_day_value workertoolbox_version", "SELECT")
    | _grant("workertoolbox_drop_day", "EXECUTE"),
    "replayer": _grant("workertoolbox_quarantine", "SELECT", "DELETE")
    | _grant("workertoolbox_task", "SELECT", "INSERT", "UPDATE")
    | _grant("workertoolbox_schedule", "SELECT", "INSERT", "UPDATE", "DELETE")
    | _grant("workertoolbox_attempt workertoolbox_planned", "INSERT")
    | _grant(
        "celery_taskmeta",
        *("SELECT (task_id)", "SELECT (status)", "SELECT (name)"),
        *("SELECT (retries)", "SELECT (root_id)", "SELECT (published_at)"),
        *("SELECT (started_at)", "SELECT (date_done)", "SELECT (worker)"),
        *("SELECT (not_run)", "INSERT"),
    )
    | _grant("task_id_sequence", "USAGE")
    | _grant("workertoolbox_version", "SELECT"),
}

#: Privileges on tables of the last release, by the use of a role. The role needs them
#: until `tasks upgrade --finish` drops these tables.
LEFTOVER_PRIVILEGES = {
    "monitor": _grant("workertoolbox_queued workertoolbox_watermark", "SELECT"),
}

_ALL = frozenset[Privilege]().union(*ROLE_PRIVILEGES.values())
_RELATIONS = frozenset(each.relation for each in _ALL)
_SEQUENCES = frozenset(each.relation for each in _ALL if each.action == "USAGE")
_FUNCTIONS = frozenset(each.relation for each in _ALL if each.action == "EXECUTE")

#: Privileges on tables and views that are reported as excess if they are not needed.
_TABLE_ACTIONS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")

_ATTRIBUTES = text(
    "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    " FROM pg_roles WHERE rolname = current_user"
)
_MISSING = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name"
    " WHERE to_regclass(name) IS NULL AND to_regproc(name) IS NULL"
)
_OWNED = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name JOIN pg_class"
    " ON pg_class.oid = to_regclass(name) WHERE pg_has_role(relowner, 'USAGE')"
)
_HELD = text(
    "SELECT CASE WHEN action = 'USAGE' THEN has_sequence_privilege(name, action)"
    " WHEN action = 'EXECUTE' THEN has_function_privilege(to_regproc(name), action)"
    " WHEN column_name <> '' THEN has_column_privilege(name, column_name, action)"
    " ELSE has_table_privilege(name, action) END"
    " FROM (SELECT CAST(:name AS text) AS name, CAST(:action AS text) AS action,"
    " CAST(:column AS text) AS column_name) AS asked"
)
_CREATE = text("SELECT has_schema_privilege(current_schema(), 'CREATE')")


@dataclass(frozen=True)
class HeldPrivileges:
    """The privileges that a connection's role holds, compared with those that it needs.

    Attributes:
        user: The role's name.
        missing_relations: Needed tables, views and sequences that do not exist. If
            there are any, nothing else is compared.
        lacking: Needed privileges that the role does not hold.
        is_superuser: Whether the role is a superuser; if so, the following are empty.
        attributes: Those of the attributes `createrole`, `createdb`, `replication` and
            `bypassrls` that the role has.
        can_create: Whether the role may create tables in the schema.
        owned_relations: Tables, views and sequences of the toolbox that the role owns.
            If there are any, `excess` is empty.
        excess: Privileges on tables of the toolbox that the role does not need.
    """

    user: str
    missing_relations: frozenset[str] = frozenset()
    lacking: frozenset[Privilege] = frozenset()
    is_superuser: bool = False
    attributes: tuple[str, ...] = ()
    can_create: bool = False
    owned_relations: frozenset[str] = frozenset()
    excess: frozenset[Privilege] = frozenset()


def compare_privileges(connection: Connection, roles: Iterable[str]) -> HeldPrivileges:
    """Compare the privileges that a connection's role holds with those that it needs.

    Until `tasks upgrade --finish`, those on tables of an earlier release count too.

    Args:
        connection: A connection to PostgreSQL. SQLite has no privileges.
        roles: The uses of the role: keys of `ROLE_PRIVILEGES`.
    """
    roles = [*roles]
    needed = frozenset[Privilege]().union(*(ROLE_PRIVILEGES[role] for role in roles))
    user = str(connection.scalar(text("SELECT current_user")))
    missing = _relations(connection, _MISSING)
    if missing_relations := missing & {each.relation for each in needed}:
        return HeldPrivileges(user, missing_relations)
    needed |= _find_leftovers(connection, roles)
    lacking = needed - _held(connection, needed)
    attributes = dict(connection.execute(_ATTRIBUTES).mappings().one())
    if attributes.pop("rolsuper"):
        return HeldPrivileges(user, lacking=lacking, is_superuser=True)
    owned = _relations(connection, _OWNED)
    tables = " ".join(_RELATIONS - missing - _SEQUENCES - _FUNCTIONS)
    functions = " ".join(_FUNCTIONS - missing)
    all = _grant(tables, *_TABLE_ACTIONS) | _grant(functions, "EXECUTE")
    unneeded = all - needed
    return HeldPrivileges(
        user,
        lacking=lacking,
        attributes=tuple(
            name.removeprefix("rol") for name, value in attributes.items() if value
        ),
        can_create=bool(connection.scalar(_CREATE)),
        owned_relations=owned,
        excess=frozenset() if owned else _held(connection, unneeded),
    )


def _relations(connection: Connection, query: TextClause) -> frozenset[str]:
    return frozenset(connection.scalars(query, {"names": sorted(_RELATIONS)}))


def _find_leftovers(
    connection: Connection, roles: Iterable[str]
) -> frozenset[Privilege]:
    """Return the needed privileges on those tables of earlier releases that exist."""
    wanted = frozenset[Privilege]().union(
        *(LEFTOVER_PRIVILEGES.get(role, ()) for role in roles)
    )
    names = sorted({each.relation for each in wanted})
    missing = {*connection.scalars(_MISSING, {"names": names})}
    return frozenset(each for each in wanted if each.relation not in missing)


def _held(
    connection: Connection, privileges: Iterable[Privilege]
) -> frozenset[Privilege]:
    """Return the privileges that the role of a connection holds."""
    return frozenset(each for each in privileges if _holds(connection, each))


def _holds(connection: Connection, privilege: Privilege) -> bool:
    action, _, column = privilege.action.partition(" ")
    asked: dict[str, Any] = {
        "name": privilege.relation,
        "action": action,
        "column": column.strip("()"),
    }
    return bool(connection.scalar(_HELD, asked))
