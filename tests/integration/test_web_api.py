"""Generated requests for the JSON API, over a generated week in each database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.config import SchemathesisConfig
from starlette.applications import Starlette

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results.web import create_app
from cadasta.workertoolbox.results.web.api import ENDPOINTS
from support.fresh_database import fresh_database
from support.web_pages import write_week

#: Number of requests for each path that match the document, and that do not.
MATCHING, OTHERS = 12, 6

#: Queries with a task in each state, and one with each kind of condition.
QUERIES = (
    *("", "status:failure", "status:success", "status:planned", "status:queued"),
    *("status:started", "status:revoked", "retries:>0", "run:>1s", "name:images.*"),
    *("-status:success worker:*", "args.order_id:1", 'error:"no map"', "tracked:no"),
)

#: How much of the usual tasks of a week is enough for a task in each state.
SHARE = 0.06

#: Statuses that a request which matches the document may get: what a query or a window
#: means is not part of its schema.
ACCEPTED = [200, 400, 404]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TaskStore]:
    """A database with a generated week."""
    with fresh_database(request, tmp_path_factory.mktemp("week")) as url:
        write_week(url, share=SHARE)
        with TaskStore(url) as store:
            yield store


@pytest.fixture(scope="module")
def app(store: TaskStore) -> Starlette:
    return create_app(store)


@pytest.fixture(scope="module")
def known(store: TaskStore) -> Mapping[str, Sequence[str]]:
    """Values in the database: ids by the first part of a path, and those in queries."""
    tasks = [
        task.id for query in QUERIES for task in store.search(query, limit=1).tasks
    ]
    groups = [each.id for each in store.error_groups(limit=2)]
    return {
        "tasks": tasks,
        "workflows": tasks,
        "errors": groups,
        "operations": [each.id for each in store.operations(limit=2)],
        "query": QUERIES,
        "name": store.names(),
        "queue": store.queues(),
        "error_group": groups,
    }


@pytest.fixture
def operation(
    app: Starlette, known: Mapping[str, Sequence[str]], path: str
) -> APIOperation[Any, Any, Any, Any]:
    """A path of the API, whose parameters often have a value in the database."""
    names = {"path.id": path.split("/")[1]}
    names |= {f"query.{name}": name for name in ("query", "name", "queue")}
    names |= {"query.error_group": "error_group"}
    values = {name: {"values": [*values]} for name, values in known.items()}
    bound = {
        name: {"dictionary": key, "probability": 0.7}
        for name, key in names.items()
        if key in known
    }
    checks = {"positive_data_acceptance": {"expected-statuses": ACCEPTED}}
    config = SchemathesisConfig.from_dict(
        {"dictionaries": values, "parameters": bound, "checks": checks}
    )
    document = "/api/v1/openapi.json"
    return schemathesis.openapi.from_asgi(document, app, config=config)[path]["GET"]


def check(
    operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, number: int
) -> Counter[int]:
    """Send generated requests, and check each answer; return the statuses."""
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Case[Any]) -> None:
        response = case.call()
        case.validate_response(response)
        statuses[response.status_code] += 1

    send()
    return statuses


@pytest.mark.parametrize("path", [each.path for each in ENDPOINTS])
def test_requests_that_match_the_document_are_answered_as_it_says(
    operation: APIOperation[Any, Any, Any, Any],
) -> None:
    statuses = check(operation, GenerationMode.POSITIVE, MATCHING)

    assert statuses[200]


@pytest.mark.parametrize(
    "path",
    [
        each.path
        for each in ENDPOINTS
        if any(not one.in_path for one in each.parameters.values())
    ],
)
def test_requests_that_do_not_match_the_document_are_refused(
    operation: APIOperation[Any, Any, Any, Any],
) -> None:
    statuses = check(operation, GenerationMode.NEGATIVE, OTHERS)

    # Now and then, what does not match is an empty list, which is not in the request.
    assert statuses[400] > OTHERS / 2
