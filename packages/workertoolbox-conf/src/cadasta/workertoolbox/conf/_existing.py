"""The settings of an app that is configured without the toolbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.app.defaults import DEFAULTS
from kombu import Queue

from cadasta.workertoolbox.conf._errors import UnknownSetting
from cadasta.workertoolbox.conf._settings.names import check_names
from cadasta.workertoolbox.conf._settings.variables import FOLDER
from cadasta.workertoolbox.routing import existing_queues

#: Settings that the toolbox sets itself, or that another setting replaces.
_REPLACED = {"task_queues", "result_backend", "worker_consumer"}

#: What Celery keeps beside the settings, and keywords of `Config`.
_NOT_SETTINGS = ("deprecated_settings", "queues", "queue_type")

#: Types of the settings of others.
_DATA = (str, int, float, list, tuple, set, dict, timedelta)

#: Beginnings of the URLs of Celery's result backend for the databases of the toolbox,
#: each with that of the toolbox. SQLAlchemy 2.1 reads `postgresql://` as psycopg 3.
_DATABASES = {
    "db+sqlite:": "workertoolbox+sqlite:",
    "db+postgresql:": "workertoolbox+postgresql+psycopg2:",
    "db+postgresql+psycopg2:": "workertoolbox+postgresql+psycopg2:",
    "workertoolbox+": "workertoolbox+",
}


def existing_settings(conf: Any, queues: Iterable[str | Queue]) -> dict[str, Any]:
    """Return what keeps the queues, the broker and the settings of an app.

    The settings of other packages are kept too, such as `redbeat_redis_url`. Results go
    to the database of a `db+…` backend, whose tables the toolbox uses too. Those of
    other backends stay where they are.

    Args:
        conf: The settings of the app.
        queues: Queues that neither its settings nor its routes name.
    """
    given = {
        name: conf[name]
        for name, default in DEFAULTS.items()
        if name not in _REPLACED and _is_given(conf, name, default)
    }
    if result_backend := _in_same_database(str(conf.get("result_backend") or "")):
        given["result_backend"] = result_backend
    options = conf.get("broker_transport_options") or {}
    # Those of a new fleet would be `dev-` and a region.
    own = {"queue_name_prefix": "", "region": None}
    return {
        **_others(conf),
        **given,
        "queues": existing_queues(conf, queues),
        "broker_url": conf.broker_write_url or "amqp://",
        "broker_transport_options": {**own, **options},
    }


def with_django(
    conf: Any, existing: Mapping[str, Any], keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keywords for `Config`, with those in the settings of a Django project.

    They are read if the app has Django's settings. A queue that they list gets the
    tasks whose names begin with its own, unless the app declares it. Results go to the
    database of the project.

    Args:
        conf: The settings of the app.
        existing: What `existing_settings` returns.
        keywords: The keywords of the caller, which win.

    Raises:
        UnknownSetting: Settings with the prefix of the toolbox are unknown.
        InvalidURL: The database of the project is neither PostgreSQL nor SQLite.
    """
    project = find_project(conf)
    if project is None:
        return {**existing, **keywords}
    # Imported here, because only projects have Django.
    from cadasta.workertoolbox.conf import _django_variables as django

    namespace = str(conf.prefix or "CELERY_").removesuffix("_")
    variables, problems = django.read_variables(project, namespace)
    if problems:
        raise UnknownSetting("; ".join(problems))
    queues = _with_listed(existing["queues"], variables.pop("QUEUES", ()), conf)
    given = {**existing, **variables, "queues": queues, **keywords}
    if FOLDER.name in variables and not conf.value_set_for("broker_url"):
        del given["broker_url"]
    return {**given, **django.find_database(given)}


def find_project(conf: Any) -> Any:
    """Return the settings of the Django project that an app has, or None.

    Args:
        conf: The settings of the app.
    """
    objects = (getattr(each, "obj", None) for each in conf.maps)
    return next((o for o in objects if type(o).__module__ == "django.conf"), None)


def _with_listed(
    existing: Iterable[str | Queue], listed: Iterable[str | Queue], conf: Any
) -> list[str | Queue]:
    declared = {getattr(each, "name", each) for each in conf.get("task_queues") or ()}
    found = {getattr(each, "name", each): each for each in existing}
    for queue in listed:
        name = getattr(queue, "name", queue)
        if name not in declared:
            found[name] = queue
    return list(found.values())


def _is_given(conf: Any, name: str, default: object) -> bool:
    """Return whether an app has its own value of a setting.

    The value may be Celery's default, which is not always the toolbox's. Celery adds
    periodic tasks to the default of `beat_schedule` itself.
    """
    value = conf.get(name, default)
    return value != default or (value is not None and conf.value_set_for(name))


def replace_settings(app: Celery, config: Mapping[str, Any]) -> None:
    """Let a configuration replace what is set in an app, once the app loads it.

    Celery prefers what `Celery(…)` and `app.conf.update(…)` have set to the object that
    `app.config_from_object` names.

    Args:
        app: The app of which the configuration is made.
        config: The configuration.
    """

    def forget(source: Any, **_: Any) -> None:
        if not isinstance(app.loader.conf, type(config)):
            return
        prefix = source.prefix or ""
        for key in [*source.changes]:
            if key in config or key.removeprefix(prefix).lower() in config:
                del source.changes[key]

    app.on_after_configure.connect(forget, weak=False)


def _others(conf: Any) -> dict[str, Any]:
    """Return the settings that are not Celery's.

    A module of settings also has imports, functions and objects such as the app.
    """
    prefix = conf.prefix or ""
    names = {key.removeprefix(prefix) for key in conf.keys() if key.startswith(prefix)}
    found = {name.lower() if prefix else name: conf.get(name) for name in names}
    return {
        name: value
        for name, value in found.items()
        if name.islower()
        and not name.startswith("_")
        and name not in (*DEFAULTS, *_NOT_SETTINGS)
        and isinstance(value, _DATA)
        and _is_accepted(name)
    }


def _is_accepted(name: str) -> bool:
    try:
        check_names([name])
    except UnknownSetting:
        return False
    return True


def _in_same_database(url: str) -> str | None:
    for theirs, ours in _DATABASES.items():
        if url.startswith(theirs):
            return ours + url.removeprefix(theirs)
    return None
