"""Which state is kept if states arrive late, twice or out of order."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery import Celery, states
from celery.app.task import Context
from closing import make_older, store_state
from polling import eventually, status_of

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results.backend import Backend


def store_states(backend: Backend, *given: str | tuple[str, int]) -> None:
    for each in given:
        state, retries = (each, 0) if isinstance(each, str) else each
        request = Context(
            id="1", task="export.project", retries=retries, hostname="a@host"
        )
        backend.store_result("1", f"{state} {retries}", state, request=request)


@pytest.mark.parametrize(
    ("given", "stays"),
    [
        (["STARTED", "SUCCESS"], "SUCCESS"),
        (["SUCCESS", "STARTED"], "SUCCESS"),
        (["SUCCESS", "RETRY"], "SUCCESS"),
        (["SUCCESS", "FAILURE"], "SUCCESS"),
        (["SUCCESS", "REVOKED"], "SUCCESS"),
        (["FAILURE", "STARTED"], "FAILURE"),
        (["REVOKED", "STARTED"], "REVOKED"),
        (["FAILURE", "PROGRESS"], "FAILURE"),
        (["FAILURE", "SUCCESS"], "SUCCESS"),
        (["REVOKED", "SUCCESS"], "SUCCESS"),
        (["REVOKED", "FAILURE"], "FAILURE"),
        (["STARTED", "PROGRESS"], "PROGRESS"),
        (["PROGRESS", "STARTED"], "STARTED"),
        (["STARTED", "RETRY", ("STARTED", 1), ("SUCCESS", 1)], "SUCCESS"),
        ([("STARTED", 1), "RETRY"], "STARTED"),
        ([("STARTED", 1), ("RETRY", 1)], "RETRY"),
    ],
)
def test_a_state_does_not_replace_a_more_final_one(
    backend: Backend, store: TaskStore, given: list[str | tuple[str, int]], stays: str
) -> None:
    store_states(backend, *given)

    assert eventually(lambda: status_of(store, "1"), stays) == stays


@pytest.mark.parametrize(
    ("revoked_ago", "status"),
    [(timedelta(minutes=5), "STARTED"), (timedelta(minutes=-5), "REVOKED")],
)
def test_a_run_replaces_a_revocation_stored_before_a_worker_had_the_task(
    backend: Backend, store: TaskStore, revoked_ago: timedelta, status: str
) -> None:
    backend.mark_as_revoked("1", "revoked")  # As remote control calls it.
    make_older(backend, "1", date_done=revoked_ago)
    store_state(backend, "1", states.STARTED, {})

    assert store.get("1").status == status


@pytest.mark.parametrize("end", [states.IGNORED, states.REJECTED])
def test_a_state_of_a_running_task_stays_if_it_is_ignored(
    backend: Backend, store: TaskStore, end: str
) -> None:
    request = Context(id="1", task="export.project", retries=0)
    backend.store_result("1", {}, states.STARTED, request=request)
    backend.store_pending_start("1")
    for state in ("PROGRESS", end):
        backend.store_result("1", state, state, request=request)

    assert store.get("1").status == "PROGRESS"


def test_the_first_success_keeps_its_value(app: Celery, backend: Backend) -> None:
    store_states(backend, ("SUCCESS", 0), ("SUCCESS", 1))

    assert app.AsyncResult("1").get(timeout=1) == "SUCCESS 0"


def test_a_final_state_clears_the_traceback_of_an_earlier_state(
    app: Celery, backend: Backend
) -> None:
    backend.store_result("1", ValueError("x"), states.RETRY, traceback="Traceback")
    backend.store_result("1", 42, states.SUCCESS)

    assert app.AsyncResult("1").traceback is None


def test_columns_of_the_request_stay_if_a_later_state_has_no_request(
    backend: Backend, store: TaskStore
) -> None:
    store_states(backend, "STARTED")
    backend.store_result("1", "terminated", states.REVOKED)

    assert store.get("1").name == "export.project"
