"""The definition of the view, in migrations and in its file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from celery import states
from sqlalchemy import Engine, text

from cadasta.workertoolbox.results._database import view
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.statuses import FINAL, LOST
from cadasta.workertoolbox.results._database.view import tasks


def definition(engine: Engine) -> str:
    query = text("SELECT sql FROM sqlite_master WHERE name = 'workertoolbox_tasks'")
    with engine.connect() as connection:
        # Only line breaks and indentation may differ.
        return " ".join(str(connection.scalar(query)).split())


def test_the_view_from_migrations_is_the_one_in_its_file(url: str) -> None:
    engine = open_engine(database_url(url))
    migrated = definition(engine)
    with engine.begin() as connection:
        view.create_views(connection)
    created = definition(engine)
    with engine.connect() as connection:
        columns = connection.execute(text("SELECT * FROM workertoolbox_tasks")).keys()
    engine.dispose()

    assert created == migrated
    assert list(columns) == tasks.columns.keys()


@pytest.mark.parametrize(
    "joined", ["", "LEFT JOIN celery_taskmeta r ON r.task_id = v.id"]
)
def test_sqlite_computes_only_the_columns_that_a_query_needs(
    url: str, joined: str
) -> None:
    query = f"SELECT v.id, v.name, v.tracked FROM workertoolbox_live v {joined}"
    engine = open_engine(database_url(url))
    with engine.connect() as connection:
        plan = str(connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all())
    engine.dispose()

    # Otherwise it would compute all columns first, and so read large results.
    assert "UNION ALL" in plan
    assert "workertoolbox_live" not in plan and "CO-ROUTINE" not in plan


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_the_view_shows_when_tasks_with_a_final_status_ended(dialect: str) -> None:
    sql = Path(view.__file__).with_name(f"view.{dialect}.sql").read_text("utf-8")
    lists = re.findall(r"r\.status IN \(([^)]*)\)", sql)

    ended = {*FINAL, states.REJECTED, states.IGNORED, LOST}

    assert lists
    assert all(set(re.findall(r"'(\w+)'", each)) == ended for each in lists)
