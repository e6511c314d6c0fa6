"""Results that were forgotten, expired, or changed after they were archived."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from celery import Celery, states

from cadasta.workertoolbox.results import ResultTooLarge, TaskStore
from cadasta.workertoolbox.results._history.archiver import archive_batch
from support.brokers import result_backend_url
from support.polling import wait_until
from support.statements import fetch
from support.task_histories import History

#: A state with its result, the number of the attempt and the worker.
Step = tuple[str, Any, int, str]

FAILED: Step = (states.FAILURE, ValueError("no map"), 0, "a@host")
FIRST: Step = (states.SUCCESS, "first", 0, "a@host")
SECOND: Step = (states.SUCCESS, "second", 0, "b@host")
RETRIED: Step = (states.RETRY, ValueError("again"), 0, "a@host")
LAST: Step = (states.FAILURE, ValueError("still"), 1, "b@host")
LATE: Step = (states.SUCCESS, "late", 1, "c@host")
LOST: Step = ("PROGRESS", {"done": 1}, 0, "b@host")


on_postgresql = pytest.mark.parametrize("opened", ["postgresql"], indirect=True)

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


def state_of(past: History, id: str = "1") -> str:
    return str(past.app.AsyncResult(id).state)


def result_of(past: History, id: str) -> Any:
    """Return a result without the types of the stubs, which are too narrow."""
    return past.app.AsyncResult(id)


def value_of(past: History, id: str = "1") -> Any:
    return past.app.AsyncResult(id).get(timeout=5)


def expire(past: History) -> None:
    """Archive ended tasks, and delete results as `celery.backend_cleanup` does."""
    past.archive()
    backend: Any = past.app.backend
    backend.expires = timedelta(microseconds=1)
    backend.cleanup()


def count_results(past: History) -> int:
    return len(fetch(url_of(past), "SELECT id FROM celery_taskmeta"))


def started_at(record: Mapping[str, Any]) -> str:
    # SQLite writes a space instead of the T, and no time zone.
    return str(record["started_at"]).replace(" ", "T")[:26]


def url_of(past: History) -> str:
    return past.engine.url.render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("before", "after", "status", "kept", "deleted"),
    [
        ([FAILED], [SECOND], "SUCCESS", ["FAILURE"], ["FAILURE"]),
        ([FIRST], [SECOND], "SUCCESS", ["DUPLICATE"], ["SUCCESS"]),
        (
            [FIRST, SECOND],
            [LATE],
            "SUCCESS",
            ["DUPLICATE"] * 2,
            ["SUCCESS", "DUPLICATE"],
        ),
        (
            [RETRIED, LAST],
            [LATE],
            "SUCCESS",
            ["RETRY", "FAILURE"],
            ["RETRY", "FAILURE"],
        ),
        ([FAILED], [LOST, LATE], "SUCCESS", ["FAILURE"], ["FAILURE", "LOST"]),
        ([FAILED], [RETRIED, LAST], "FAILURE", ["FAILURE"], ["FAILURE", "RETRY"]),
    ],
    ids=["late success", "duplicate", "duplicates", "retries", "lost", "retried again"],
)
@pytest.mark.parametrize("is_deleted", [False, True], ids=["kept", "deleted"])
def test_what_comes_after_the_end_was_archived_is_added_to_it(
    past: History,
    before: list[Step],
    after: list[Step],
    status: str,
    kept: list[str],
    deleted: list[str],
    is_deleted: bool,
) -> None:
    past.publish()
    for steps in (before, after):
        for state, result, retries, worker in steps:
            past.store(state, result, retries=retries, worker=worker)
        past.archive()
        if is_deleted:
            past.delete_result()
    [row] = past.rows()
    runs = sorted(row["attempts"], key=started_at)

    assert row["status"] == state_of(past) == status
    assert [each["outcome"] for each in runs] == (deleted if is_deleted else kept)
    assert (row["tracked"], row["args"]) == (True, ["a"])


def test_an_expired_result_is_read_from_history(past: History) -> None:
    past.publish()
    past.store(states.SUCCESS, {"rows": [1, "é", None]})
    past.store(states.FAILURE, KeyError("no"), "2")
    past.options = replace(past.options, max_result_bytes=100)
    past.store(states.SUCCESS, "x" * 99, "3")
    expire(past)
    whole, failed, cut = (result_of(past, id) for id in "123")
    group = past.app.GroupResult("group", [whole, cut])

    assert count_results(past) == 0
    assert whole.get(timeout=5) == {"rows": [1, "é", None]}
    assert (whole.name, whole.args, whole.kwargs) == ("export.echo", ["a"], {"b": 1})
    assert (whole.worker, whole.queue, whole.retries) == ("a@host", "export", 0)
    assert whole.date_done is not None
    with pytest.raises(KeyError, match="no"):
        failed.get(timeout=5)
    assert cut.state == states.SUCCESS
    for result in (cut, group):
        with pytest.raises(ResultTooLarge, match="'3'.* 101 bytes"):
            result.get(timeout=5)


def test_a_long_result_stays_too_large_after_a_late_copy_has_restored_its_task(
    past: History,
) -> None:
    past.options = replace(past.options, max_result_bytes=5000)
    past.store(states.SUCCESS, "x" * 5000)
    past.store(states.FAILURE, ValueError("x" * 5000), "2")
    expire(past)
    assert count_results(past) == 0
    for id in "12":
        past.publish(id)
    backend: Any = past.app.backend
    for _ in ("restored", "archived again"):
        cut, failed = (result_of(past, id) for id in "12")
        group = past.app.GroupResult("group", [cut])
        for read in (
            *(cut.get, group.get, group.join, failed.get),
            *(lambda cut=cut: cut.result, lambda cut=cut: cut.info),
            partial(backend.get_result, "1"),
        ):
            with pytest.raises(ResultTooLarge, match=r"'1'.* 5002 bytes|'2'"):
                read()
        assert isinstance(failed.result, ResultTooLarge)
        assert (cut.state, cut.name) == (states.SUCCESS, "export.echo")
        with TaskStore(result_backend_url(url_of(past))) as store:
            shown = store.get("1")
        assert shown.as_json()["result"] == "<truncated: 5002 bytes>"
        past.archive()
    past.store(states.SUCCESS, "y" * 5, "2")

    assert value_of(past, "2") == "y" * 5
    past.archive()
    assert [row["result_bytes"] for row in past.rows()] == [5002, None]


@pytest.mark.parametrize("when", ["live", "archived", "expired"])
def test_forget_hides_a_result_from_celery_only(past: History, when: str) -> None:
    past.publish()
    past.store(states.SUCCESS, "first")
    if when != "live":
        past.archive()
    if when == "expired":
        past.delete_result()
    past.app.AsyncResult("1").forget()
    forgotten, shown = [], []
    with TaskStore(result_backend_url(url_of(past))) as store:
        for step in (None, past.archive, lambda: expire(past)):
            if step is not None:
                step()
            forgotten.append(state_of(past))
            shown.append((store.get("1").status, store.get("1").result))
    [row] = past.rows()
    past.store(states.SUCCESS, "second", worker="b@host")

    assert forgotten == [states.PENDING] * 3
    assert shown == [(states.SUCCESS, "first")] * 3
    assert row["forgotten"]
    assert value_of(past) == "second"

    expire(past)
    [row] = past.rows()

    assert value_of(past) == "second"
    assert [each["outcome"] for each in row["attempts"]] == [states.SUCCESS]


@on_postgresql
def test_a_result_that_is_being_archived_is_forgotten(past: History) -> None:
    past.store(states.SUCCESS, 42)
    with ThreadPoolExecutor(1) as thread:
        with past.engine.begin() as connection:
            archive_batch(connection, past.options)
            done = thread.submit(past.app.AsyncResult("1").forget)
            wait_until(lambda: fetch(url_of(past), WAITING) == [(1,)])
        done.result()
    [row] = past.rows()

    assert row["forgotten"]
    assert state_of(past) == states.PENDING


@pytest.mark.parametrize("is_archived", [False, True], ids=["live", "archived"])
def test_celerys_own_backend_deletes_results_that_are_archived(
    past: History, is_archived: bool
) -> None:
    plain = Celery("plain", backend=f"db+{url_of(past)}", set_as_current=False)
    plain.conf.result_expires = timedelta(microseconds=1)
    for id in ("forgotten", "expired"):
        past.store(states.SUCCESS, 42, id)
    if is_archived:
        past.archive()
    plain.AsyncResult("forgotten").forget()
    plain.backend.cleanup()
    seen = {id: plain.AsyncResult(id).state for id in ("forgotten", "expired")}

    # It does not use the mark with which this backend forgets a result.
    assert {*seen.values()} == {states.PENDING if is_archived else states.SUCCESS}

    expire(past)

    assert {row["id"] for row in past.rows()} == {"forgotten", "expired"}
    assert count_results(past) == 0
