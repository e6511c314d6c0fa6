from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from click.testing import CliRunner
from django.conf import settings
from django.db import transaction
from django.db.utils import ConnectionHandler
from django.test import override_settings
from kombu import Exchange, Queue

from cadasta.workertoolbox.conf import Config, MissingQueues, UnknownSetting
from cadasta.workertoolbox.conf.adoption._command import command
from cadasta.workertoolbox.conf.django import read_settings
from cadasta.workertoolbox.conf.testing import (
    assert_tracked,
    embedded,
    running_monitor,
    running_worker,
)
from cadasta.workertoolbox.results import (
    InvalidURL,
    TaskStore,
    database_url,
    upgrade,
)
from cadasta.workertoolbox.results.django import database
from cadasta.workertoolbox.routing import UndeclaredQueues, track

#: Names of tasks with the queues that get them.
NAMES = {"orders.pay": "orders", "old.note": "old", "video.cut": "celery"}

POSTGRESQL = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}


@pytest.fixture(scope="module", autouse=True)
def project() -> None:
    """A Django project in this process, with a database in memory."""
    settings.configure(
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        },
        WORKERTOOLBOX_QUEUES=["orders", "mail"],
    )


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """The app of the project, as `celery.py` makes it."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "configured_by_the_test")
    app = Celery("shop", set_as_current=False)
    app.config_from_object(
        "cadasta.workertoolbox.conf.django:settings", namespace="CELERY"
    )
    return app


@pytest.fixture
def literal(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """An app with Celery's own line for Django."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "configured_by_the_test")
    app = Celery("shop", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    return app


def use_databases(monkeypatch: pytest.MonkeyPatch, **databases: dict[str, Any]) -> None:
    """Replace the databases of the project, which Django itself reads only once."""
    monkeypatch.setattr(database, "connections", ConnectionHandler(databases))


def test_celery_finds_the_settings_of_both_prefixes(app: Celery) -> None:
    with override_settings(
        CELERY_TASK_TIME_LIMIT=90,
        CELERY_BROKER_URL="amqp://mq",
        CELERY_EMAIL_BACKEND="shop.mail:Backend",
        WORKERTOOLBOX_REDACT={"hide": ["iban"]},
        WORKERTOOLBOX_QUEUE_TYPE="quorum",
    ):
        assert app.conf.task_time_limit == 90
    assert app.conf.broker_url == "amqp://mq"
    assert app.conf.email_backend == "shop.mail:Backend"
    assert app.conf.REDACT == {"hide": ["iban"]}
    assert list(app.amqp.queues) == ["celery", "orders", "mail", "platform.fifo"]
    assert app.amqp.queues["mail"].queue_arguments == {"x-queue-type": "quorum"}


def test_celerys_own_line_for_django_reads_the_variables_of_the_toolbox(
    literal: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_databases(monkeypatch, default=POSTGRESQL)
    video = Queue("video", Exchange("media", type="topic"), "media.#")
    with override_settings(
        CELERY_BROKER_URL="amqp://mq",
        CELERY_TASK_QUEUES=[video],
        CELERY_TASK_ROUTES={"old.*": "old"},
        WORKERTOOLBOX_QUEUES=["orders", "video"],
        WORKERTOOLBOX_RETENTION={"SUCCESS": "7d"},
    ):
        literal.config_from_object(Config.from_app(literal))

    assert literal.conf.broker_url == "amqp://mq"
    assert literal.conf.RETENTION == {"SUCCESS": "7d"}
    assert literal.conf.result_backend == "workertoolbox+postgresql+psycopg2:///shop"
    queues = literal.amqp.queues
    assert list(queues) == ["celery", "video", "old", "orders", "platform.fifo"]
    assert queues["video"].exchange.name == "media"
    routes = {name: literal.amqp.router.route({}, name)["queue"].name for name in NAMES}
    assert routes == NAMES


def test_what_is_given_to_from_app_wins_over_djangos_settings(literal: Celery) -> None:
    own = "workertoolbox+sqlite:///own"
    with override_settings(WORKERTOOLBOX_RETENTION={"SUCCESS": "7d"}):
        config = Config.from_app(literal, RETENTION={}, result_backend=own)

    assert config.RETENTION == {}
    assert config.result_backend == own


def test_the_plan_to_adopt_names_the_page_the_database_and_the_queues(
    literal: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_databases(monkeypatch, default=POSTGRESQL | {"HOST": "db"})
    with override_settings(
        CELERY_RESULT_BACKEND="django-db",
        CELERY_TASK_ROUTES={"shop.remind": {"queue": "mails"}},
        WORKERTOOLBOX_QUEUES=[],
    ):
        result = CliRunner().invoke(command, obj=SimpleNamespace(app=literal))

    assert result.exit_code == 0, result.output
    assert "Config.from_app(app))" in result.output
    assert "docs/how-to/django.md" in result.output
    assert 'DATABASES["default"]' in result.output
    assert 'WORKERTOOLBOX_QUEUES = ["celery", "mails"]' in result.output
    assert "'django-db' → 'workertoolbox+postgresql+psycopg2://db/" in result.output


def test_the_plan_of_a_tracked_project_is_to_move_its_results(
    literal: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_databases(monkeypatch, default=POSTGRESQL | {"HOST": "db"})
    with override_settings(
        CELERY_BROKER_URL="amqp://mq",
        CELERY_RESULT_BACKEND="django-db",
        WORKERTOOLBOX_QUEUES=["orders"],
    ):
        track(literal, ["mails"])
        result = CliRunner().invoke(command, obj=SimpleNamespace(app=literal))

    assert result.exit_code == 0, result.exception
    assert "write Config.from_app(app) in the place of track" in result.output
    assert "'django-db' → 'workertoolbox+postgresql+psycopg2://db/" in result.output


def test_the_folder_of_djangos_settings_is_the_broker_of_celerys_own_line(
    literal: Celery, tmp_path: Path
) -> None:
    with override_settings(WORKERTOOLBOX_FOLDER=tmp_path / "tasks"):
        literal.config_from_object(Config.from_app(literal))

    assert literal.conf.broker_url == "filesystem://localhost/"
    assert literal.conf.result_backend == "workertoolbox+sqlite://"


def test_unknown_variables_of_the_toolbox_are_an_error_of_from_app(
    literal: Celery,
) -> None:
    with override_settings(WORKERTOOLBOX_RETENTOIN={}):
        with pytest.raises(UnknownSetting, match="did you mean 'WORKERTOOLBOX_RETEN"):
            Config.from_app(literal)


def test_another_namespace_is_read() -> None:
    with override_settings(MQ_TASK_TIME_LIMIT=90, CELERY_TASK_TIME_LIMIT=10):
        assert read_settings("MQ").task_time_limit == 90


def test_a_route_to_an_undeclared_queue_names_the_settings_of_django() -> None:
    message = (
        "MQ_TASK_ROUTES sends 'shop.remind' to queue 'mails' (did you mean 'mail'?), "
        "which is not declared; add 'mails' to WORKERTOOLBOX_QUEUES, or correct"
    )
    with override_settings(MQ_TASK_ROUTES={"shop.remind": {"queue": "mails"}}):
        with pytest.raises(UndeclaredQueues, match=re.escape(message)):
            read_settings("MQ")


def test_a_folder_has_the_broker_but_not_the_results(tmp_path: Path) -> None:
    with override_settings(WORKERTOOLBOX_FOLDER=tmp_path / "tasks"):
        config = read_settings()

    assert config.broker_url == "filesystem://localhost/"
    assert config.result_backend == "workertoolbox+sqlite://"


def test_queues_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings():
        del settings.WORKERTOOLBOX_QUEUES
        with pytest.raises(MissingQueues, match="WORKERTOOLBOX_QUEUES is not in"):
            read_settings()
        monkeypatch.setenv("WORKERTOOLBOX_QUEUES", "orders")
        assert read_settings().QUEUES == ("orders",)


def test_all_unknown_names_are_one_error() -> None:
    with override_settings(
        CELERY_ALWAYS_EAGER=True,
        CELERY_DB_REUSE_MAX=10,
        CELERY_QUEUES=["orders"],
        CELERY_TASK_QEUES=[],
        WORKERTOOLBOX_BROKER_URL="amqp://mq",
        WORKERTOOLBOX_RETENTOIN={},
    ):
        with pytest.raises(UnknownSetting) as caught:
            read_settings()

    where = "in the settings of Django"
    assert str(caught.value).split("; '") == [
        f"'CELERY_ALWAYS_EAGER' {where} is an old name; write "
        "'CELERY_TASK_ALWAYS_EAGER'",
        f"CELERY_DB_REUSE_MAX' {where} has no effect with the toolbox; remove it",
        f"CELERY_QUEUES' {where} is a variable of the toolbox; write "
        "'WORKERTOOLBOX_QUEUES'",
        f"CELERY_TASK_QEUES' {where} is not a setting of Celery's; did you mean "
        "'CELERY_TASK_QUEUES'?",
        f"WORKERTOOLBOX_BROKER_URL' {where} is a setting of Celery's; write "
        "'CELERY_BROKER_URL'",
        f"WORKERTOOLBOX_RETENTOIN' {where} is not a variable of the toolbox; did you "
        "mean 'WORKERTOOLBOX_RETENTION'?",
    ]


def test_postgresql_gets_the_options_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    use_databases(
        monkeypatch,
        default={
            **POSTGRESQL,
            **{"USER": "ada@shop", "PASSWORD": "p/{w%", "HOST": "db", "PORT": 6432},
            "OPTIONS": {
                "sslmode": "require",
                "assume_role": "tasks",
                "isolation_level": 1,
            },
        },
    )
    url = database_url(read_settings().result_backend)

    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == (
        *("ada@shop", "p/{w%", "db", 6432, "shop"),
    )
    assert url.query == {"sslmode": "require", "options": "-c role=tasks"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"HOST": "/run/pg", "PORT": "6432"}, "/shop?host=%2Frun%2Fpg&port=6432"),
        ({"HOST": "::1", "USER": "ada"}, "ada@[::1]/shop"),
        ({}, "/shop"),
        ({"NAME": "", "OPTIONS": {"service": "shop"}}, "/?service=shop"),
    ],
)
def test_postgresql_is_reached_as_django_reaches_it(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], expected: str
) -> None:
    use_databases(monkeypatch, default={**POSTGRESQL, **given})

    assert (
        database.result_backend() == f"workertoolbox+postgresql+psycopg2://{expected}"
    )


def test_a_sqlite_file_is_found_from_every_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "50 %.sqlite3"
    engine = "django.db.backends.sqlite3"
    use_databases(monkeypatch, default={"ENGINE": engine, "NAME": path})
    upgrade(database.result_backend())
    monkeypatch.chdir(tmp_path)
    use_databases(monkeypatch, default={"ENGINE": engine, "NAME": path.name})

    assert path.exists()
    assert database_url(database.result_backend()).database == str(path)


def test_another_database_of_the_project_can_have_the_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mysql = {"ENGINE": "django.db.backends.dummy", "NAME": "shop"}
    use_databases(monkeypatch, default=mysql, tasks=POSTGRESQL)
    with pytest.raises(InvalidURL, match="DATABASES\\['default'\\] has the engine"):
        read_settings()
    with override_settings(WORKERTOOLBOX_DATABASE="tsaks"):
        with pytest.raises(InvalidURL, match="one of 'default', 'tasks'"):
            read_settings()
    with override_settings(WORKERTOOLBOX_DATABASE="tasks"):
        assert read_settings().result_backend.endswith("/shop")


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        ({"CELERY_RESULT_BACKEND": "workertoolbox+sqlite:///a"}, {}),
        ({}, {"WORKERTOOLBOX_RESULT_BACKEND": "workertoolbox+sqlite:///a"}),
    ],
)
def test_a_result_backend_wins_over_the_databases(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with override_settings(**given):
        assert read_settings().result_backend == "workertoolbox+sqlite:///a"


def test_tasks_that_are_sent_on_commit_are_tracked(app: Celery, tmp_path: Path) -> None:
    @app.task(name="mail.send", shared=False)
    def send(address: str) -> str:
        return address

    sent: Any = send  # Celery gives it the methods of DjangoTask.
    published = []
    with embedded(app, tmp_path), running_worker(app), running_monitor(app):
        with transaction.atomic():
            sent.delay_on_commit("ada@example.org")
            transaction.on_commit(lambda: published.append(send.delay("eve@x.org")))
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            sent.delay_on_commit("nobody@example.org")
            raise ZeroDivisionError
        assert_tracked(app, published[0])
        with TaskStore.for_app(app) as store:
            tasks = store.list()

    assert {tuple(task.args) for task in tasks} == {
        ("ada@example.org",),
        ("eve@x.org",),
    }
