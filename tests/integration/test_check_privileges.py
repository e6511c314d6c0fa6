"""`tasks check` of the privileges of a PostgreSQL role."""

from __future__ import annotations

import pytest
from celery import Celery

from support.checkups import run_check, with_database
from support.documented_grants import documented_grants, granted_role
from support.statements import execute


@pytest.mark.parametrize("role", ["worker", "monitor", "reader", "purger", "replayer"])
def test_the_documented_grants_are_exactly_what_a_role_needs(
    undeclared_app: Celery, database: str, role: str
) -> None:
    with granted_role(database, *documented_grants(role)) as url:
        checked = run_check(with_database(undeclared_app, url), "--role", role)

    assert checked.exit_code == 0, checked.output
    assert (
        f"has the privileges of a {role}, and no others"
        in checked.details("ok")["privileges"]
    )


@pytest.mark.parametrize(
    ("role", "lacking"),
    [
        ("worker", "DELETE ON celery_taskmeta"),
        ("worker", "USAGE ON SEQUENCE task_id_sequence"),
        ("monitor", "INSERT ON workertoolbox_quarantine"),
        ("reader", "SELECT ON workertoolbox_tasks"),
    ],
)
def test_a_missing_privilege_fails(
    undeclared_app: Celery, database: str, role: str, lacking: str
) -> None:
    revoke = f"REVOKE {lacking} FROM {{role}}"
    with granted_role(database, *documented_grants(role), revoke) as url:
        checked = run_check(with_database(undeclared_app, url), "--role", role)

    shown = lacking.replace("ON", "on").replace("SEQUENCE ", "")
    assert list(checked.details("failed")) == ["privileges"]
    assert (
        f"lacks {shown}, which a {role} needs"
        in checked.details("failed")["privileges"]
    )


@pytest.mark.parametrize(
    ("grant", "shown"),
    [
        ("GRANT TRUNCATE ON workertoolbox_task TO {role}", "TRUNCATE on workertoolbox"),
        ("GRANT CREATE ON SCHEMA public TO {role}", "may CREATE in the schema"),
        (
            "ALTER TABLE celery_taskmeta OWNER TO {role}; "
            "ALTER TABLE celery_tasksetmeta OWNER TO {role}",
            "owns 2 tables and views: more than",
        ),
        ("ALTER ROLE {role} CREATEROLE", "has the attributes createrole"),
        ("ALTER ROLE {role} SUPERUSER", "is a superuser"),
    ],
)
def test_a_needless_privilege_is_a_warning(
    undeclared_app: Celery, database: str, grant: str, shown: str
) -> None:
    with granted_role(database, *documented_grants("worker"), grant) as url:
        checked = run_check(with_database(undeclared_app, url))
        for table in ("celery_taskmeta", "celery_tasksetmeta"):
            execute(database, f"ALTER TABLE {table} OWNER TO CURRENT_USER")

    assert checked.exit_code == 0
    assert shown in checked.details("warning")["privileges"]


def test_a_monitor_needs_the_tables_of_the_last_release_until_they_are_deleted(
    undeclared_app: Celery, database: str
) -> None:
    tables = "workertoolbox_queued", "workertoolbox_watermark"
    for table in tables:
        execute(database, f"CREATE TABLE {table} ()")
    grants = documented_grants("monitor")
    reads = f"GRANT SELECT ON {', '.join(tables)} TO {{role}}"
    with granted_role(database, *grants) as url:
        lacking = run_check(with_database(undeclared_app, url), "--role", "monitor")
    with granted_role(database, *grants, reads) as url:
        granted = run_check(with_database(undeclared_app, url), "--role", "monitor")

    shown = "; ".join(f"SELECT on {table}" for table in tables)
    detail = lacking.details("failed")["privileges"]
    assert f"lacks {shown}, which a monitor needs" in detail
    assert "and no others" in granted.details("ok")["privileges"]
