"""The tasks in Django's administration, and the web pages in Django's URLs."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import django
import pytest
from celery import Celery, _state
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from sqlalchemy import create_engine, insert, make_url

from cadasta.workertoolbox.results._database.tables import error_group, taskmeta
from cadasta.workertoolbox.results.web.turns import AT_ONCE
from support.brokers import result_backend_url
from support.fresh_database import fresh_database
from support.recent_tasks import random_rows

APPS = ("admin", "auth", "contenttypes", "messages", "sessions")
ENGINES = {"postgresql": "postgresql", "sqlite": "sqlite3"}

TASKS = "/admin/workertoolbox/task/"

#: More than a page of the administration shows.
COUNT = 230


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Django project in this process, with three users in its own database."""
    name = tmp_path_factory.mktemp("project") / "project.sqlite3"
    template = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": name}},
        INSTALLED_APPS=[
            *(f"django.contrib.{each}" for each in APPS),
            "cadasta.workertoolbox.results.django",
        ],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="support.django_urls",
        SECRET_KEY="-",
        TEMPLATES=[template],
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User

    User.objects.create_superuser("ada", password="-")
    User.objects.create_user("eve", password="-", is_staff=True)
    User.objects.create_user("bob", password="-")
    yield
    connections.close_all()


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A database of each kind, with tasks of the last half hour and an error."""
    folder = tmp_path_factory.mktemp("django")
    now = datetime.now(UTC)
    with fresh_database(request, folder) as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            for table, rows in random_rows(now, COUNT).items():
                # Rows of one statement have the same columns.
                connection.execute(insert(table), rows)
            connection.execute(
                insert(error_group).values(
                    **{"id": "1:ab", "version": 1, "type": "OSError", "state": "open"},
                    **{"sample": "OSError: <b>disk</b> full", "name": "export.a"},
                    **{"first_at": now, "last_at": now, "count": 7, "retries": 2},
                )
            )
            connection.execute(
                insert(taskmeta).values(
                    **{"id": 9999, "task_id": "a/b c", "name": "export.slash"},
                    **{"status": "FAILURE", "traceback": "Traceback: <i>"},
                    **{"date_done": now.replace(tzinfo=None), "result": b'{"a": 1}'},
                )
            )
        engine.dispose()
        yield url


@pytest.fixture(scope="module", autouse=True)
def app(database: str) -> Iterator[Celery]:
    """The Celery app of the project."""
    app = Celery("shop", broker="memory://")
    app.conf.update(result_backend=result_backend_url(database))
    state: Any = _state
    before = state.default_app
    # As Celery does it where `DJANGO_SETTINGS_MODULE` is set.
    app.set_default()
    yield app
    state.set_default_app(before)
    app.close()


def logged_in(name: str, kind: Any = Client) -> Any:
    from django.contrib.auth.models import User

    client = kind()
    client.force_login(User.objects.get(username=name))
    return client


@pytest.fixture(scope="module")
def admin() -> Client:
    client: Client = logged_in("ada")
    return client


def listed(response: Any) -> list[str]:
    """Return the ids of the tasks that a page of the administration lists."""
    assert response.status_code == 200, response.headers
    text = response.content.decode()
    found = re.findall(rf'class="field-id"><a href="{TASKS}(.+?)/', text)
    return [unquote(each.replace("_2F", "/")) for each in found]


def test_tasks_are_listed_by_pages_without_a_query_of_django(admin: Client) -> None:
    url: str | None = TASKS
    ids: list[str] = []
    with CaptureQueriesContext(connection) as queries:
        while url and len(ids) < 2 * COUNT:
            response = admin.get(url)
            ids += listed(response)
            older = re.search(r'href="([^"]+)">older', response.content.decode())
            url = older and f"{TASKS}{html.unescape(older[1])}"

    assert len(ids) == len(set(ids)) > 150
    assert "workertoolbox_" not in str(queries.captured_queries)


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("status=FAILURE", "status:failure"),
        ("name=export.b&queue=msg", "name:export.b queue:msg"),
        ("q=name:*.a+OR+name:*.b&queue=msg", "(name:*.a OR name:*.b) queue:msg"),
    ],
)
def test_tasks_are_filtered_as_on_the_web_page(
    admin: Client, query: str, condition: str
) -> None:
    from cadasta.workertoolbox.results.django.store import find_store

    expected = [task.id for task in find_store().search(condition, limit=100).tasks]

    assert listed(admin.get(f"/admin/workertoolbox/task/?{query}")) == expected
    assert expected


def test_an_invalid_query_is_explained(admin: Client) -> None:
    response = admin.get("/admin/workertoolbox/task/?q=status:nonsense")

    assert listed(response) == []
    assert "nonsense" in response.content.decode()


def test_a_task_is_shown_with_a_link_to_its_web_page(admin: Client) -> None:
    response = admin.get("/admin/workertoolbox/task/a_2Fb c/change/")
    text = response.content.decode()
    [link] = re.findall(r'<a href="([^"]+)" class="viewsitelink"', text)
    page = admin.get(html.unescape(link))

    assert "Traceback: &lt;i&gt;" in text
    assert 'name="_save"' not in text
    assert (page.status_code, link) == (200, "/ops/tasks/tasks/a/b%20c")
    assert "export.slash" in page.content.decode()


def test_a_group_of_errors_is_shown_with_a_link_to_its_web_page(admin: Client) -> None:
    shown = admin.get("/admin/workertoolbox/errorgroup/?state=new").content.decode()
    other = admin.get("/admin/workertoolbox/errorgroup/?state=ignored").content.decode()
    group = admin.get("/admin/workertoolbox/errorgroup/1_3Aab/change/")

    assert "&lt;b&gt;disk&lt;/b&gt; full" in shown
    assert "disk" not in other
    assert "/ops/tasks/errors/1:ab" in group.content.decode()


@pytest.mark.parametrize("model", ["task", "errorgroup"])
def test_nobody_can_change_a_row(admin: Client, model: str) -> None:
    id = {"task": "a_2Fb c", "errorgroup": "1_3Aab"}[model]
    root = f"/admin/workertoolbox/{model}/"

    assert admin.get(f"{root}add/").status_code == 403
    assert admin.post(f"{root}{id}/change/", {"status": "SUCCESS"}).status_code == 403
    assert admin.post(f"{root}{id}/delete/", {"post": "yes"}).status_code == 403
    assert admin.get(f"{root}nothing/change/").status_code == 302
    assert logged_in("eve").get(root).status_code == 403


def test_the_models_read_the_same(database: str) -> None:
    from django.forms.models import model_to_dict

    from cadasta.workertoolbox.results.django.models import ErrorGroup, Task
    from cadasta.workertoolbox.results.django.store import find_store

    url = make_url(database)
    connections.databases["tasks"] = {
        **connections.databases["default"],
        "ENGINE": f"django.db.backends.{ENGINES[url.get_backend_name()]}",
        **{"NAME": url.database, "USER": url.username or ""},
        **{"HOST": url.host or "", "PORT": url.port or "", "PASSWORD": url.password},
    }
    try:
        tasks = {task.id: task for task in Task.objects.using("tasks").all()}
        [group] = ErrorGroup.objects.using("tasks").all()
    finally:
        connections["tasks"].close()
        del connections["tasks"], connections.databases["tasks"]
    found = [Task.of(task) for task in find_store().list(limit=1000, internal=True)]

    assert len(tasks) == len(found) > 200
    assert {each.id: model_to_dict(each) for each in found} == {
        id: model_to_dict(each) for id, each in tasks.items()
    }
    assert (group.sample, group.count) == ("OSError: <b>disk</b> full", 7)


def test_only_staff_sees_the_pages(admin: Client) -> None:
    page = "/ops/tasks/tasks?query=status:failure"
    anonymous, bob = Client(), logged_in("bob")
    login = f"/admin/login/?next={quote(page)}"
    refused = [client.get(page) for client in (anonymous, bob)]
    refreshed = anonymous.get(page, headers={"HX-Request": "true"})
    program = anonymous.get("/ops/tasks/api/v1/tasks")

    assert {each.headers["location"] for each in refused} == {login}
    assert (refreshed.status_code, refreshed.headers["HX-Refresh"]) == (401, "true")
    assert (program.status_code, program.headers["content-type"]) == (
        *(403, "application/problem+json"),
    )
    assert "export." in logged_in("eve").get(page).content.decode()


def test_the_pages_are_whole_below_wsgi_and_asgi(admin: Client) -> None:
    text = admin.get("/ops/tasks/").content.decode()
    found = re.findall(r'(?:href|src)="(/[^"#]*)"', text)
    paths = sorted({html.unescape(each) for each in found})
    answers = {path: admin.get(path) for path in paths}

    async def get_all() -> dict[str, Any]:
        client = AsyncClient()
        client.cookies = admin.cookies
        return {path: await client.get(path) for path in paths}

    same = asyncio.run(get_all())

    assert len(paths) > 10
    assert {path[:11] for path in paths} == {"/ops/tasks/"}
    assert {answer.status_code for answer in answers.values()} == {200}
    assert {answer.status_code for answer in same.values()} == {200}
    for path in filter(lambda path: "/static/" in path, paths):
        assert same[path].content == answers[path].content
    assert admin.head("/ops/tasks/tasks").status_code == 200
    assert admin.post("/ops/tasks/tasks").status_code == 405
    assert admin.get("/ops/tasks/nothing").status_code == 404


def test_requests_wait_for_each_other_in_any_thread(admin: Client) -> None:
    def get(_: int) -> int:
        client = Client()
        client.cookies = admin.cookies
        try:
            return int(client.get("/ops/tasks/tasks").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2 * AT_ONCE) as threads:
        statuses = list(threads.map(get, range(2 * AT_ONCE)))

    assert {*statuses} == {200}
