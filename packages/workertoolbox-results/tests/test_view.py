"""The definition of the view, in migrations and in its file."""

from __future__ import annotations

from sqlalchemy import Engine, text

from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.tables import tasks
from cadasta.workertoolbox.results._database.view import create_view


def definition(engine: Engine) -> str:
    query = text("SELECT sql FROM sqlite_master WHERE name = 'workertoolbox_tasks'")
    with engine.connect() as connection:
        # Only line breaks and indentation may differ.
        return " ".join(str(connection.scalar(query)).split())


def test_the_view_from_migrations_is_the_one_in_its_file(url: str) -> None:
    engine = open_engine(database_url(url))
    migrated = definition(engine)
    with engine.begin() as connection:
        create_view(connection)
    created = definition(engine)
    with engine.connect() as connection:
        columns = connection.execute(text("SELECT * FROM workertoolbox_tasks")).keys()
    engine.dispose()

    assert created == migrated
    assert list(columns) == tasks.columns.keys()
