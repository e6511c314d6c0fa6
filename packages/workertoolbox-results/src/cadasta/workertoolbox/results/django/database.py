"""The database of a Django project as the results database."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.db import connections

from cadasta.workertoolbox.results._errors import InvalidURL

#: The setting that names a database of `DATABASES`, and its default.
SETTING, DEFAULT_ALIAS = "WORKERTOOLBOX_DATABASE", "default"

#: Options of a PostgreSQL database that Django uses itself. libpq gets the others.
_OPTIONS_OF_DJANGO = {
    "assume_role",
    "cursor_factory",
    "isolation_level",
    "pool",
    "server_side_binding",
}


def database_alias() -> str:
    """Return the key of the database in `DATABASES` that has the tasks."""
    return str(getattr(settings, SETTING, DEFAULT_ALIAS))


def result_backend(alias: str | None = None) -> str:
    """Return a database of the project as a `result_backend`.

    While Django's test runner is active, it is the database of the tests.

    Args:
        alias: Its key in `DATABASES`. The default is `WORKERTOOLBOX_DATABASE`, or
            `default`.

    Raises:
        InvalidURL: The database is not PostgreSQL or SQLite, or there is none.
    """
    alias = database_alias() if alias is None else alias
    if alias not in connections:
        raise InvalidURL(
            f"DATABASES has no {alias!r}; set {SETTING} to one of "
            f"{', '.join(map(repr, connections))}"
        )
    connection = connections[alias]
    match connection.vendor:
        case "postgresql":
            url = _postgresql_url(connection.settings_dict)
        case "sqlite":
            url = _sqlite_url(str(connection.settings_dict["NAME"]))
        case _:
            engine = connection.settings_dict["ENGINE"]
            raise InvalidURL(
                f"DATABASES[{alias!r}] has the engine {engine!r}, and tasks are stored "
                "in PostgreSQL or SQLite; add such a database to DATABASES and set "
                f"{SETTING} to its key, or set CELERY_RESULT_BACKEND"
            )
    return f"workertoolbox+{url}"


def _postgresql_url(database: Mapping[str, Any]) -> str:
    user, password, host = (str(database[key]) for key in ("USER", "PASSWORD", "HOST"))
    query = dict(_libpq_options(database["OPTIONS"]))
    if host.startswith("/"):  # The folder of a socket.
        query["host"], host = host, ""
    address = f"[{host}]" if ":" in host else quote(host, safe=",")
    if database["PORT"]:
        if address:
            address += f":{database['PORT']}"
        else:
            query["port"] = str(database["PORT"])
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    name = quote(str(database["NAME"] or ""), safe="")
    url = f"postgresql+psycopg2://{login}{'@' if login else ''}{address}/{name}"
    return f"{url}?{urlencode(query, quote_via=quote)}" if query else url


def _libpq_options(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in options.items():
        if name not in _OPTIONS_OF_DJANGO | {"options"}:
            yield name, str(value)
    session = [str(options["options"])] if "options" in options else []
    if role := options.get("assume_role"):
        session.append(f"-c role={role}")
    if session:
        yield "options", " ".join(session)


def _sqlite_url(name: str) -> str:
    if name == ":memory:" or name.startswith("file:memorydb_"):
        # As in Django's tests. No other process can use that database: a worker that
        # is started with it ends, because it lacks the tables.
        return "sqlite://"
    if name.startswith("file:"):
        path, _, query = name.partition("?")
        return f"sqlite:///{quote(path, safe='/:')}?{query}&uri=true"
    return f"sqlite:///{quote(os.path.abspath(name))}"
