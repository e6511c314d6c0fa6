"""The JSON API: its parameters, its errors, its paging and its document."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sample_states import STATUSES, fill
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from stored_tasks import publish, store_ended, store_state
from web_pages import filled_store

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results.web import create_app
from cadasta.workertoolbox.results.web.api import ENDPOINTS, answer_size
from cadasta.workertoolbox.results.web.api.answer_size import AnswerSize

#: The paths of lists.
LISTS = [
    each.path for each in ENDPOINTS if "{" not in each.path and each.path != "/health"
]

#: Parameters that a path needs.
NEEDED = {"/stuck": "?p99=true"}


@pytest.fixture(scope="module")
def client(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    path = shutil.copy(template, tmp_path_factory.mktemp("api"))
    with TaskStore(f"workertoolbox+sqlite:///{path}") as store:
        fill(store)
        store_ended(store, "with/slash", at=datetime.now(UTC) - timedelta(days=2))
        store_state(store, "not-a-number", "SUCCESS", result=b'[NaN, "\\ud800", 1e999]')
        with TestClient(create_app(store)) as client:
            yield client


def get(client: TestClient, url: str, *, status: int = 200) -> dict[str, Any]:
    """Return the object at a path of the API."""
    response = client.get(f"/api/v1{url}")
    kind = "json" if status == 200 else "problem+json"
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == f"application/{kind}"
    found: dict[str, Any] = json.loads(response.text, parse_constant=_refuse)
    return found


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def detail(client: TestClient, url: str, *, status: int = 400) -> str:
    problem = get(client, url, status=status)
    assert problem["status"] == status
    return str(problem["detail"])


def test_tasks_are_those_of_list_with_the_window(
    client: TestClient, now: datetime
) -> None:
    found = get(client, "/tasks?since=1d")
    ids = {each["id"] for each in found["items"]}

    assert ids == {*map(str.lower, STATUSES), "not-a-number"}
    assert found["next"] is None
    assert found["until"] is None
    since = datetime.fromisoformat(found["since"])
    assert abs(now - timedelta(days=1) - since) < timedelta(minutes=5)


def test_pages_have_each_task_once_and_the_window_of_the_first(
    client: TestClient,
) -> None:
    pages = [get(client, "/tasks?limit=5&since=1d")]
    while token := pages[-1]["next"]:
        pages.append(get(client, f"/tasks?limit=5&page={token}"))
    ids = [task["id"] for page in pages for task in page["items"]]

    assert len(pages) == 3
    assert sorted(ids) == sorted({*map(str.lower, STATUSES), "not-a-number"})
    assert {page["since"] for page in pages} == {pages[0]["since"]}


@pytest.fixture(scope="module")
def large(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TestClient, TaskStore]]:
    """A client, and a store of a workflow: a task with 30 children."""
    with filled_store(template, tmp_path_factory.mktemp("large")) as store:
        at = datetime.now(UTC) - timedelta(minutes=30)
        ids = ["root", *(f"{number:02}" for number in range(30))]
        publish(store, "export", "root", at=at, root_id="root")
        family = {"root_id": "root", "parent_id": "root", "argsrepr": "x" * 1000}
        for number, id in enumerate(ids[1:]):
            later = at + timedelta(seconds=number + 1)
            publish(store, "export", id, at=later, **family)
        for id in ids:
            size = 70_000 if id == "05" else 60_000
            result = json.dumps("x" * size).encode()
            store_state(store, id, "SUCCESS", result=result)
        with TestClient(create_app(store)) as client:
            yield client, store


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/tasks?since=1d&", 31),
        ("/workflows/07/tasks?", 31),
        ("/tasks/root/children?", 30),
    ],
)
def test_a_page_with_large_tasks_ends_early_and_the_next_one_goes_on(
    large: tuple[TestClient, TaskStore],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    count: int,
) -> None:
    client, store = large
    monkeypatch.setattr(answer_size, "FIRST_TASKS", 4)
    monkeypatch.setattr(answer_size, "MAX_BYTES", 700_000)
    pages = [get(client, f"{path}limit=25")]
    while token := pages[-1]["next"]:
        pages.append(get(client, f"{path}limit=25&page={quote(token)}"))
    found = [task for page in pages for task in page["items"]]
    sizes = [len(page["items"]) for page in pages]

    assert len({each["id"] for each in found}) == len(found) == count
    assert all(11 <= size <= 13 for size in sizes[:-1]) and len(sizes) == 3
    results = {each["id"]: each["result"] for each in found}
    assert results["07"] == "x" * 60_000
    assert results["05"] == "<truncated: 70002 bytes>"
    again = [each.id for each in store.find_all(["07", "gone", "root"])]
    assert again == ["07", "root"]


def test_a_page_of_another_workflow_is_refused(
    large: tuple[TestClient, TaskStore],
) -> None:
    client, _ = large

    assert "'gone'" in detail(client, "/workflows/root/tasks?page=gone")


def test_tasks_are_read_in_growing_numbers_until_an_answer_is_full(
    large: tuple[TestClient, TaskStore],
) -> None:
    _, store = large
    [task] = store.find_all(["07"], limited=True)
    size = AnswerSize(500)
    counts = []
    while count := size.next_count():
        counts.append(count)
        size.add([task] * count)

    full = math.ceil(answer_size.MAX_BYTES / len(json.dumps(task.as_json())))
    assert counts[0] == 50
    assert sum(counts) == full


def test_a_query_selects_tasks(client: TestClient) -> None:
    found = get(client, "/tasks?query=status:failure")

    assert [each["id"] for each in found["items"]] == ["failure"]
    assert found["items"][0]["result"]["exc_message"] == ["no map"]


def test_values_that_are_not_json_become_texts(client: TestClient) -> None:
    task = get(client, "/tasks/not-a-number")

    assert task["result"] == ["NaN", r"\ud800", "Infinity"]


def test_an_id_may_have_a_slash(client: TestClient) -> None:
    assert get(client, "/tasks/with%2Fslash")["id"] == "with/slash"
    assert get(client, "/tasks/with%2Fslash/why")["cause"] == "succeeded"


def test_attempts_children_and_the_workflow_of_a_task(client: TestClient) -> None:
    [child] = get(client, "/tasks/queued/children")["items"]
    [attempt] = get(client, "/tasks/started/attempts")["items"]
    workflow = get(client, "/workflows/planned")
    tasks = get(client, "/workflows/planned/tasks")["items"]

    assert child["id"] == "planned"
    assert attempt["worker"] == "celery@host-1"
    assert (workflow["status"], workflow["tasks"]) == ("waiting", 2)
    assert [(each["id"], each["depth"]) for each in tasks] == [
        ("queued", 0),
        ("planned", 1),
    ]
    assert get(client, "/tasks/planned/children")["items"] == []


@pytest.mark.parametrize("path", LISTS)
def test_a_list_has_items(client: TestClient, path: str) -> None:
    found = get(client, path + NEEDED.get(path, ""))

    assert isinstance(found.get("items", found.get("series")), list)


@pytest.mark.parametrize("path", LISTS)
def test_a_list_of_an_empty_database_is_empty(store: TaskStore, path: str) -> None:
    with TestClient(create_app(store)) as client:
        found = get(client, path + NEEDED.get(path, ""))

    items = found.get("items", found.get("series"))
    assert [each for each in items or () if each["kind"] != "total"] == []


@pytest.mark.parametrize(
    "path",
    [each.path for each in ENDPOINTS if "{" in each.path and "why" not in each.path],
)
def test_an_unknown_id_is_not_found(client: TestClient, path: str) -> None:
    found = detail(client, path.replace("{id}", "gone"), status=404)

    assert "'gone'" in found


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/tasks?limit=0", "limit must be a whole number from 1 to 500, got '0'"),
        ("/tasks?limit=501", "limit must be a whole number from 1 to 500, got '501'"),
        ("/tasks?limit=", "limit must be a whole number from 1 to 500, got ''"),
        ("/tasks?limit=%D9%A5", "limit must be a whole number from 1 to 500, got '٥'"),
        ("/tasks?since=soon", "since must be a time back from now (2h, 30d), now, "),
        ("/tasks?since=", "since must be a time back from now"),
        ("/tasks?until=2026-13-01", "got '2026-13-01'"),
        ("/tasks?since=1h&until=2h", "must be before until"),
        ("/tasks?internal=yes", "internal must be true or false, got 'yes'"),
        ("/tasks?page=x", "page 'x' is not a page token"),
        ("/tasks?query=status:nonsense", "no task has the status nonsense"),
        ("/tasks?query=a%00", r"must not contain NUL or lone surrogates, got 'a\x00'"),
        ("/tasks?limit=1&limit=2", "limit is given more than once; give one value"),
        (
            "/tasks?status=FAILURE",
            "unknown parameter 'status'; the parameters are query, since, until, ",
        ),
        ("/names?limit=1", "unknown parameter 'limit'; there are none"),
        ("/tasks/queued?id=x", "unknown parameter 'id'; there are none"),
        ("/tasks/a%00b", "id must not contain NUL"),
        ("/tasks/", "id must have 1 to 500 characters, not 0"),
        ("/stuck", "give older_than, such as 15m, or p99=true, or both"),
        ("/stuck?older_than=5", "older_than must be a number and a unit"),
        ("/stuck?older_than=0s", "and at most 36500d, got '0s'"),
        ("/stats?by=worker", "by must be one of name, queue, got 'worker'"),
        ("/stats?since=0001-01-01", "for the years 1800 to 2299, not for 1"),
        ("/figures?until=9999-12-31", "for the years 1800 to 2299, not for 9999"),
        ("/figures?step=90s", "step must be a whole number of minutes"),
        ("/figures?since=9d&step=1d&until=3000-01-01", "not for 3000"),
        ("/backlog/samples?since=50y", "got '50y'"),
        ("/errors?state=open", "state must be one of new, ongoing, quiet, back, "),
        ("/operations/x/tasks?page=-1", "page must be a whole number from 0"),
    ],
)
def test_a_malformed_parameter_is_named_with_its_value(
    client: TestClient, url: str, expected: str
) -> None:
    assert expected in detail(client, url)


def test_a_long_value_is_cut_off_in_the_error(client: TestClient) -> None:
    for url in (
        f"/names?{'x' * 50_000}=1",
        f"/stats?name={'x' * 50_000}",
        f"/tasks?since={'1' * 50_000}",
        f"/tasks?query={'x' * 50_000}",
        f"/tasks?page={'x' * 50_000}",
        f"/tasks/{'x' * 50_000}",
        f"/tasks?limit={'1' * 50_000}",
    ):
        assert len(detail(client, url)) < 500


def test_an_error_in_a_query_is_marked(client: TestClient) -> None:
    problem = get(client, f"/tasks?query={quote('a (b')}", status=400)

    assert problem["title"] == "Bad Request"
    assert problem["marked"].splitlines()[0] == "a (b"


@pytest.mark.parametrize("path", ["/tasks", "/tasks/queued", "/openapi.json"])
def test_the_methods_of_a_path(client: TestClient, path: str) -> None:
    url = f"/api/v1{path}"
    options, head, post = client.options(url), client.head(url), client.post(url)
    methods = {"GET", "HEAD", "OPTIONS"}

    assert (options.status_code, head.status_code, post.status_code) == (204, 200, 405)
    assert {*options.headers["allow"].split(", ")} == methods
    assert {*post.headers["allow"].split(", ")} == methods
    assert post.headers["content-type"] == "application/problem+json"


def test_the_document_names_the_address_of_a_mounted_app(store: TaskStore) -> None:
    outer = Starlette(routes=[Mount("/ops", create_app(store))])
    with TestClient(outer) as client:
        document = client.get("/ops/api/v1/openapi.json").json()

    assert document["servers"] == [{"url": "/ops/api/v1"}]


def test_the_document_describes_every_path_parameter_and_member(
    client: TestClient,
) -> None:
    document = get(client, "/openapi.json")
    operations = [each["get"] for each in document["paths"].values()]
    parameters = [each for one in operations for each in one["parameters"]]
    members = {
        f"{name}.{key}": value["description"]
        for name, schema in document["components"]["schemas"].items()
        for key, value in schema["properties"].items()
    }

    assert document["paths"].keys() == {each.path for each in ENDPOINTS}
    assert all(each["summary"].endswith(".") for each in operations)
    assert all(each["description"] for each in parameters)
    assert [name for name, text in members.items() if not text] == []
    assert "None" not in json.dumps(document)


def test_the_document_has_the_types_of_records(client: TestClient) -> None:
    schemas = get(client, "/openapi.json")["components"]["schemas"]
    task, reason = schemas["Task"], schemas["Reason"]

    assert "tracked" not in task["properties"]
    assert task["properties"]["retries"]["type"] == ["integer", "null"]
    assert task["properties"]["eta"]["anyOf"][0]["format"] == "date-time"
    assert reason["properties"]["trouble"]["type"] == "boolean"
    assert "no_consumer" in reason["properties"]["cause"]["enum"]
    assert {"$ref": "#/components/schemas/Reason"} in (
        reason["properties"]["because"]["anyOf"]
    )
    # The members of the last run of a schedule are null before its first run.
    assert schemas["Schedule"]["properties"]["sent_at"]["anyOf"][1] == {"type": "null"}


def test_a_task_that_waits_is_stuck(store: TaskStore, now: datetime) -> None:
    publish(store, "export", "late", at=now - timedelta(hours=1))
    with TestClient(create_app(store)) as client:
        [by_age] = get(client, "/stuck?older_than=30m")["items"]
        [by_usual] = get(client, "/stuck?p99=true")["items"]
        none = get(client, "/stuck?older_than=2h")["items"]

    assert by_age["id"] == by_usual["id"] == "late"
    assert by_usual["for_s"] == pytest.approx(3600, abs=60)
    assert none == []
