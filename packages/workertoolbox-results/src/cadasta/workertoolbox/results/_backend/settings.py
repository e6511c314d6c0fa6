"""Settings of Celery's database backend that this backend cannot honour."""

from __future__ import annotations

from celery import Celery

from cadasta.workertoolbox.results._database.tables import taskmeta, tasksetmeta
from cadasta.workertoolbox.results._errors import UnsupportedSetting

#: Values that mean what this backend does anyway, and what to do about others.
_SETTINGS: dict[str, tuple[tuple[object, ...], str]] = {
    "database_create_tables_at_setup": (
        (None, False),
        "leave it out: `celery -A … tasks upgrade` creates the tables, once for each "
        "deployment",
    ),
    "database_engine_options": (
        (None, {}, {"pool_pre_ping": True, "pool_recycle": 3600}),
        "each process has one connection and no pool; put options of the "
        "driver into result_backend, as in "
        "…/workers?sslmode=require&connect_timeout=3",
    ),
    "database_short_lived_sessions": (
        (None, False),
        "leave it out: each process has one connection, and each statement is a "
        "transaction",
    ),
    "database_table_names": (
        (None, {}, {"task": taskmeta.name, "group": tasksetmeta.name}),
        "leave it out: the tables have Celery's default names",
    ),
    "database_table_schemas": (
        (None, {}),
        "name the schema in result_backend, as in "
        "…/workers?options=-csearch_path%3Dresults",
    ),
}


def check_settings(app: Celery) -> None:
    """Refuse settings that would have no effect.

    Raises:
        UnsupportedSetting: Another setting does what it is for.
    """
    for name, (honoured, advice) in _SETTINGS.items():
        value = app.conf.get(name)
        # A default of Celery, which may be another value, asks for nothing.
        if app.conf.value_set_for(name) and value not in honoured:
            raise UnsupportedSetting(name, value, advice)
