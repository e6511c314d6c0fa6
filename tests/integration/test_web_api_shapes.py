"""The JSON API returns what the commands print with `--json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._backend.release import insert_release
from cadasta.workertoolbox.results.web import create_app
from cadasta.workertoolbox.results.web.api import ENDPOINTS
from support.sample_night import sample_night

#: Options of commands, each with the path for the same. `{task}` and others stand for
#: ids in the sample night.
SAME = {
    "list --limit 30": "/tasks?limit=30",
    "list --since 2h --query status:failure": "/tasks?since=2h&query=status:failure",
    "list --internal --limit 5": "/tasks?internal=true&limit=5",
    "show {failed}": "/workflows/{failed}/tasks",
    "show {planned}": "/workflows/{planned}/tasks",
    "show {planned} --summary": "/workflows/{planned}",
    "why {failed} --utc": "/tasks/{failed}/why",
    "why {planned} --utc": "/tasks/{planned}/why",
    "stats --utc": "/stats",
    "stats --utc --by queue --since 24h --limit 2": "/stats?by=queue&since=24h&limit=2",
    "stats --status FAILURE --since 7d": "/stats?status=FAILURE&since=7d",
    "errors": "/errors",
    "errors --state back": "/errors?state=back",
    "errors show {group}": "/errors/{group}",
    "backlog": "/backlog",
    "stuck --older-than 15m": "/stuck?older_than=15m",
    "stuck --p99 --limit 3": "/stuck?p99=true&limit=3",
    "schedules --all": "/schedules?removed=true",
    "services --since 7d": "/services?since=7d",
    "workers --since 24h": "/workers?since=24h",
    "operations": "/operations",
    "operations {operation}": "/operations/{operation}/tasks",
}

#: Paths for which there is no command with `--json`.
ONLY_IN_THE_API = {
    *("/tasks/{id}", "/tasks/{id}/attempts", "/tasks/{id}/children", "/untracked"),
    *("/figures", "/queues", "/backlog/samples", "/names", "/operations/{id}"),
    *("/health", "/releases"),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celery]:
    """The app of a fleet on a bad night; the clock has stopped."""
    with sample_night(tmp_path_factory.mktemp("fleet")) as app:
        yield app


@pytest.fixture(scope="module")
def store(app: Celery) -> Iterator[TaskStore]:
    with TaskStore.for_app(app) as store:
        with store.engine.begin() as connection:
            insert_release(connection, "shop", "1.4.0")
        yield store


@pytest.fixture(scope="module")
def client(store: TaskStore) -> Iterator[TestClient]:
    with TestClient(create_app(store)) as client:
        yield client


@pytest.fixture(scope="module")
def ids(store: TaskStore) -> dict[str, str]:
    """Ids in the database: those of tasks, of a group of errors and of an operation."""
    return {
        "failed": store.search("status:failure").tasks[0].id,
        "planned": store.search("status:planned").tasks[0].id,
        "untracked": store.search("tracked:no").tasks[0].id,
        "group": store.error_groups()[0].id,
        "operation": next(each.id for each in store.operations() if each.tasks),
    }


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    """The OpenAPI document, whose objects have no other members than it names."""
    document: dict[str, Any] = client.get("/api/v1/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        schema["additionalProperties"] = False
    return document


def objects(app: Celery, *words: str) -> list[dict[str, Any]]:
    """Return what a command prints with `--json`."""
    command = ["-A", app, "tasks", *words, "--json"]
    result = CliRunner().invoke(celery, command)  # type: ignore[arg-type]
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert found, result.output
    return found


@pytest.mark.parametrize(("words", "path"), SAME.items())
def test_the_objects_are_those_of_the_command(
    app: Celery, client: TestClient, ids: dict[str, str], words: str, path: str
) -> None:
    printed = objects(app, *words.format(**ids).split())
    found = client.get(f"/api/v1{path.format(**ids)}").json()

    assert found.get("items", [found]) == printed


def test_each_path_is_compared_with_a_command() -> None:
    compared = {
        path.partition("?")[0].replace(f"{{{name}}}", "{id}")
        for path in SAME.values()
        for name in ("failed", "planned", "group", "operation")
    }
    paths = {each.path for each in ENDPOINTS}

    assert paths - compared == ONLY_IN_THE_API


@pytest.mark.parametrize(
    "path",
    [
        *SAME.values(),
        *(f"/tasks/{{{name}}}" for name in ("failed", "planned", "untracked")),
        *("/tasks/{failed}/attempts", "/tasks/{failed}/children", "/untracked"),
        *("/figures?since=24h&step=1h", "/backlog/samples?since=24h&step=1h"),
        *("/queues", "/names", "/operations/{operation}", "/releases"),
    ],
)
def test_the_document_names_every_member(
    client: TestClient, document: dict[str, Any], ids: dict[str, str], path: str
) -> None:
    response = client.get(f"/api/v1{path.format(**ids)}")
    assert response.status_code == 200, response.text
    template = path.partition("?")[0]
    for name in ids:
        template = template.replace(f"{{{name}}}", "{id}")
    answer = document["paths"][template]["get"]["responses"]["200"]
    schema = answer["content"]["application/json"]["schema"]
    components = {"components": document["components"]}
    validator = jsonschema_rs.validator_for(schema | components)

    assert [*validator.iter_errors(response.json())] == []
