"""Each ended task moves to the history once, also with late messages and states."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import states
from sqlalchemy import RowMapping, Table, func, select, text, update

from cadasta.workertoolbox.results import Retention, TaskStore
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    error_group,
    planned,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._headers import PUBLISHED_AT
from cadasta.workertoolbox.results._history.archiver import ARCHIVER_LOCK_KEY
from cadasta.workertoolbox.results._history.attempt_records import read_instant
from cadasta.workertoolbox.results._history.backlog import count_queued
from cadasta.workertoolbox.results._history.days import existing_days
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.expired_tasks import close_expired
from cadasta.workertoolbox.results._history.outcomes import close_unexpected
from cadasta.workertoolbox.results._history.tidying import tidy
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from support.polling import wait_until
from support.task_commands import call_tasks_command
from support.task_histories import PUBLISHED, History

on_postgresql = pytest.mark.parametrize("opened", ["postgresql"], indirect=True)


def count(past: History, table: Table) -> int:
    with past.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def without_receipt(rows: Iterable[RowMapping]) -> list[dict[str, Any]]:
    """Return rows without the instant at which a monitor saw the message."""
    return [{**row, "seen_at": None} for row in rows]


@on_postgresql
def test_only_tasks_with_few_values_are_in_the_index_of_values(past: History) -> None:
    ids = {"1": ["one"], "2": [uuid4().hex for _ in range(300)]}
    for id, values in ids.items():
        past.publish(id)
        past.store(states.SUCCESS, 1, id)
        arguments = {"first": values[0], "ids": values}
        with past.engine.begin() as connection:
            change = update(task).where(task.c.id == id).values(kwargs=arguments)
            connection.execute(change)
    past.archive()
    with TaskStore.from_engine(past.engine) as store:
        found = {
            id: [task.id for task in store.search(f"args.first:{values[0]}").tasks]
            for id, values in ids.items()
        }

    assert {row["id"]: row["large"] for row in past.rows()} == {"1": None, "2": True}
    assert found == {"1": ["1"], "2": ["2"]}


def test_an_ended_task_moves_to_history_and_is_shown_as_before(past: History) -> None:
    past.publish()
    past.store(states.SUCCESS, {"rows": 3})
    before = past.shown()
    archived = past.archive()
    [row] = past.rows()
    with past.engine.connect() as connection:
        archived_at = connection.scalar(select(taskmeta.c.archived_at))

    assert archived == 1
    assert past.shown() == before
    assert [count(past, table) for table in (task, attempt)] == [0, 0]
    assert archived_at is not None
    assert (row["status"], row["tracked"], row["forgotten"]) == ("SUCCESS", True, False)
    assert row["listed_at"] == row["scheduled_at"] == PUBLISHED
    assert row["day"] == row["finished_at"].date()
    assert row["messages"] is None
    assert past.archive() == 0


def test_tasks_that_have_not_ended_or_have_just_ended_stay(past: History) -> None:
    past.publish("queued")
    past.publish("running")
    past.store(states.RETRY, ValueError("again"), "running")
    past.publish("ended")
    past.store(states.SUCCESS, 1, "ended")
    past.options = ArchiveOptions(delay_s=60)

    assert past.archive() == 0
    assert {row["status"] for row in past.shown()} == {"QUEUED", "RETRY", "SUCCESS"}


def test_a_copy_that_arrives_after_its_result_is_merged(past: History) -> None:
    past.store(states.SUCCESS, 42)
    past.archive()
    [untracked] = past.rows()
    past.publish()
    [shown] = past.shown()
    past.archive()
    [row] = past.rows()

    assert not untracked["tracked"]
    assert (shown["status"], shown["tracked"]) == ("SUCCESS", True)
    assert (row["status"], row["tracked"]) == ("SUCCESS", True)
    assert row["scheduled_at"] == row["listed_at"] == PUBLISHED
    assert row["args"] == ["a"]
    assert [count(past, table) for table in (task, attempt)] == [0, 0]


def test_a_copy_that_arrives_after_its_result_was_deleted_is_merged(
    past: History,
) -> None:
    past.store(states.FAILURE, ValueError("no map"))
    past.archive()
    past.delete_result()
    past.publish()
    [shown] = past.shown()
    past.archive()
    [row] = past.rows()

    assert (shown["status"], shown["tracked"]) == ("FAILURE", True)
    assert (row["status"], row["tracked"]) == ("FAILURE", True)
    assert b"no map" in row["result"]
    assert [each["id"] for each in past.shown()] == ["1"]


def test_a_copy_that_is_delivered_again_changes_nothing(past: History) -> None:
    past.publish()
    past.store(states.SUCCESS, 42)
    past.archive()
    before = without_receipt(past.rows())
    for deleted in (False, True):
        if deleted:
            past.delete_result()
        past.publish()
        [shown] = past.shown()
        assert shown["status"] == "SUCCESS"
        past.archive()

        assert without_receipt(past.rows()) == before
        assert count(past, task) == 0


def test_a_copy_that_is_delivered_again_soon_after_forget_changes_nothing(
    past: History,
) -> None:
    published_at = datetime.now(UTC) - timedelta(minutes=2)
    headers: dict[str, Any] = {PUBLISHED_AT: published_at.isoformat()}
    past.publish(**headers)
    past.store(states.SUCCESS, 42, published_at=published_at)
    past.archive()
    past.app.AsyncResult("1").forget()
    past.publish(**headers)
    shown = [row["status"] for row in past.shown()]
    past.archive()

    assert shown == [states.SUCCESS]
    assert past.app.AsyncResult("1").state == states.PENDING
    assert [row["forgotten"] for row in past.rows()] == [True]
    assert count(past, task) == 0


@pytest.mark.parametrize("kept", ["live", "archived", "expired"])
@pytest.mark.parametrize("state", [states.SUCCESS, states.FAILURE])
def test_a_task_that_is_published_after_its_end_is_queued_again(
    past: History, state: str, kept: str
) -> None:
    past.publish()
    past.store(state, 42 if state == states.SUCCESS else ValueError("first"))
    if kept != "live":
        past.archive()
    if kept == "expired":
        past.delete_result()
    again_at = datetime.now(UTC)
    headers: dict[str, Any] = {PUBLISHED_AT: again_at.isoformat()}
    past.publish(**headers)
    past.archive()  # The end that is still live is archived without the message.
    [queued] = past.shown()
    [first] = past.rows()
    assert past.archive() == 0
    past.store(states.SUCCESS, 43, published_at=again_at)
    past.archive()
    [row] = past.rows()

    assert (queued["status"], queued["started_at"]) == ("QUEUED", None)
    assert read_instant(str(queued["scheduled_at"])) == again_at
    assert (first["status"], first["scheduled_at"]) == (state, PUBLISHED)
    assert row["result"] == b"43"
    assert [each["outcome"] for each in row["attempts"]] == [state]
    assert [count(past, table) for table in (task, attempt)] == [0, 0]


@pytest.mark.parametrize("kept", ["live", "archived", "expired"])
@pytest.mark.parametrize("retries", [0, 1], ids=["run", "earlier"])
def test_a_late_copy_does_not_queue_an_ended_task_if_clocks_differ(
    past: History, kept: str, retries: int
) -> None:
    past.store(states.SUCCESS, 42, retries=retries)
    ended_at = (PUBLISHED - timedelta(minutes=10)).replace(tzinfo=None)
    with past.engine.begin() as connection:
        connection.execute(taskmeta.update().values(date_done=ended_at))
    if kept != "live":
        past.archive()
    if kept == "expired":
        past.delete_result()
    past.publish()
    [shown] = past.shown()
    past.archive()
    [row] = past.rows()

    assert shown["status"] == row["status"] == "SUCCESS"
    assert count(past, task) == 0


@pytest.mark.parametrize("kept", ["live", "archived", "expired"])
def test_copies_of_earlier_attempts_do_not_queue_a_task_if_a_clock_is_behind(
    past: History, kept: str
) -> None:
    past.store(states.RETRY, ValueError("first"))
    past.store(states.RETRY, ValueError("second"), retries=1)
    # This attempt is published, and runs, on a worker whose clock is behind.
    published_at = PUBLISHED - timedelta(minutes=10)
    past.store(states.SUCCESS, 42, retries=2, published_at=published_at)
    ended_at = (published_at + timedelta(seconds=1)).replace(tzinfo=None)
    with past.engine.begin() as connection:
        connection.execute(taskmeta.update().values(date_done=ended_at))
    shown = []
    for retries in (None, 0, 1, 0):
        if retries is not None:
            past.publish(retries=retries)
        shown += [row["status"] for row in past.shown()]
        if kept != "live" and retries != 0:
            past.archive()
        if kept == "expired":
            past.delete_result()
        shown += [row["status"] for row in past.shown()]
    past.archive()
    [row] = past.rows()

    assert set(shown) == {row["status"]} == {states.SUCCESS}
    assert count(past, task) == past.archive() == 0


@pytest.mark.parametrize("end", ["expired", "revoked"])
def test_a_task_that_was_not_run_is_queued_by_a_later_message(
    past: History, end: str
) -> None:
    now = datetime.now(UTC)
    published_at, again_at, expires = (
        now - timedelta(minutes=minutes) for minutes in (5, 1, 2)
    )
    headers: dict[str, Any] = {PUBLISHED_AT: published_at.isoformat()}
    past.publish(**headers, expires=expires.isoformat())
    with past.engine.begin() as connection:
        if end == "expired":
            close_expired(connection, now, past.options)
        else:
            values = {"status": states.REVOKED, "published_at": published_at}
            values |= {"task_id": "1", "date_done": now.replace(tzinfo=None)}
            connection.execute(taskmeta.insert().values(values))
    past.publish(**headers | {PUBLISHED_AT: again_at.isoformat()})
    past.publish(**headers)
    [ended] = past.shown()
    past.archive()
    [queued] = past.shown()

    assert (ended["status"], queued["status"]) == (states.REVOKED, "QUEUED")
    assert read_instant(str(queued["scheduled_at"])) == again_at
    assert [row["status"] for row in past.rows()] == [states.REVOKED]


def test_a_step_that_was_never_published_can_end_again(past: History) -> None:
    backend: Any = past.app.backend
    past.store(states.FAILURE, ValueError("first"))
    with past.engine.begin() as connection:
        not_run = {"not_run": "not run: export.first[0] failed", "started_at": None}
        connection.execute(taskmeta.update().values(**not_run))
    past.archive()
    past.delete_result()
    backend.store_result("1", ValueError("second"), states.FAILURE)
    past.archive()
    [row] = past.rows()

    assert b"second" in row["result"]
    assert row["attempts"] is None  # The step was not run the first time.


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
def test_a_second_end_replaces_the_first_and_keeps_it_as_an_attempt(
    past: History, deleted: bool
) -> None:
    past.publish()
    past.store(states.FAILURE, ValueError("first"), worker="a@host")
    past.archive()
    if deleted:
        past.delete_result()
    past.store(states.SUCCESS, 42, worker="b@host")
    [shown] = past.shown()
    past.archive()
    [row] = past.rows()

    assert (shown["status"], shown["worker"]) == ("SUCCESS", "b@host")
    assert (row["status"], row["tracked"], row["args"]) == ("SUCCESS", True, ["a"])
    assert row["scheduled_at"] == PUBLISHED
    [first] = row["attempts"]
    assert (first["outcome"], first["worker"]) == ("FAILURE", "a@host")
    assert "first" in first["error"]


def test_errors_are_counted_once_in_their_group(past: History) -> None:
    past.publish()
    past.store(states.RETRY, ValueError("no map 1"))
    past.store(states.FAILURE, ValueError("no map 2"), retries=1)
    past.store(states.FAILURE, ValueError("no map 3"), "2")
    past.archive()
    past.publish("2")  # Archived once more, with its message.
    past.archive()
    with past.engine.connect() as connection:
        [group] = connection.execute(select(error_group)).mappings()

    assert {row["error_group"] for row in past.rows()} == {group["id"]}
    assert (group["count"], group["retries"]) == (3, 1)
    assert (group["first_task_id"], group["last_task_id"]) == ("1", "2")
    assert group["type"] == "ValueError"


def test_retried_messages_are_kept(past: History) -> None:
    past.publish()
    past.store(states.RETRY, ValueError("first"))
    past.publish(retries=1)
    past.store(states.SUCCESS, 42, retries=1)
    past.archive()
    [row] = past.rows()
    past.store(states.SUCCESS, 43, retries=1, worker="b@host")  # A duplicate.
    past.archive()
    [again] = past.rows()

    assert [each["retries"] for each in row["messages"]] == [0, 1]
    assert [each["outcome"] for each in row["attempts"]] == ["RETRY"]
    assert again["messages"] == row["messages"]
    assert [each["outcome"] for each in again["attempts"]] == ["RETRY", "DUPLICATE"]
    assert count(past, attempt) == 0


def test_a_retry_that_is_stored_after_its_task_was_archived_is_counted(
    past: History,
) -> None:
    past.publish(retries=1)
    past.store(states.SUCCESS, 42, retries=1)
    past.archive()
    past.store(states.RETRY, ValueError("late"))
    past.archive()
    [row] = past.rows()

    assert (row["status"], row["retries"]) == (states.SUCCESS, 1)
    assert [each["outcome"] for each in row["attempts"]] == [states.RETRY]
    past.check_rollups()
    assert past.unarchived() == 0


@pytest.mark.parametrize("first", [0, 1])
def test_the_messages_of_a_retried_task_are_kept_in_any_order(
    past: History, first: int
) -> None:
    past.store(states.RETRY, ValueError("first"))
    past.store(states.SUCCESS, 42, retries=1)
    for retries in (first, 1 - first):
        past.publish(retries=retries)
        past.archive()
    [row] = past.rows()

    assert sorted(each["retries"] for each in row["messages"]) == [0, 1]
    assert (row["retries"], row["scheduled_at"]) == (1, PUBLISHED)
    assert [count(past, table) for table in (task, attempt)] == [0, 0]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_planned_step_is_not_shown_once_it_is_archived(
    past: History, when: str
) -> None:
    def announce() -> None:
        with past.engine.begin() as connection:
            values = {"id": "2", "name": "export.last", "seen_at": datetime.now(UTC)}
            connection.execute(planned.insert().values(**values))

    if when == "before":
        announce()
    past.store(states.SUCCESS, 42, "2")
    past.archive()
    past.delete_result()
    if when == "after":
        announce()
    [shown] = past.shown()
    with past.engine.begin() as connection:
        tidy(connection, datetime.now(UTC), past.options)

    assert shown["status"] == "SUCCESS"
    assert count(past, planned) == 0


def test_a_long_result_is_kept_by_its_beginning(past: History) -> None:
    past.options = replace(past.options, max_result_bytes=5000)
    past.store(states.SUCCESS, "x" * 5000)
    past.store(states.SUCCESS, "x" * 4000, "2")
    past.archive()
    long, short = past.rows()
    past.delete_result()
    past.publish("1")
    past.archive()
    merged = past.rows()[0]

    assert (len(long["result"]), long["result_bytes"]) == (4096, 5002)
    assert (len(short["result"]), short["result_bytes"]) == (4002, None)
    assert merged["tracked"]
    assert (merged["result"], merged["result_bytes"]) == (long["result"], 5002)


@pytest.mark.parametrize("days", [-20_000, -30, 2, 20_000])
def test_a_wrong_clock_does_not_stop_the_archiver(past: History, days: int) -> None:
    past.store(states.SUCCESS, 42)
    ended_at = datetime.now(UTC) + timedelta(days=min(days, 0))
    stored_at = (datetime.now(UTC) + timedelta(days=days)).replace(tzinfo=None)
    with past.engine.begin() as connection:
        connection.execute(taskmeta.update().values(date_done=stored_at))
    past.archive()
    [row] = past.rows()

    assert row["finished_at"] == stored_at.replace(tzinfo=UTC)
    expected = ended_at.date() if days == -30 else datetime.now(UTC).date()
    assert row["day"] == expected


def test_a_result_without_a_date_is_archived(past: History) -> None:
    past.store(states.SUCCESS, 42)
    with past.engine.begin() as connection:
        connection.execute(taskmeta.update().values(date_done=None))

    assert past.archive() == 1
    assert past.rows()[0]["finished_at"] is not None


def test_two_archivers_count_each_task_once(past: History) -> None:
    ids = [f"{number:03}" for number in range(100)]
    for id in ids:
        past.store(states.SUCCESS, 42, id)
    options = replace(past.options, batch_size=7)

    def archive(_: object) -> int:
        archiving = Archiving(past.engine, options, should_stop=lambda: False)
        return archiving.run_once()

    with ThreadPoolExecutor(2) as pool:
        total = sum(pool.map(archive, range(2)))

    assert total + _archive_rest(past) == 100
    assert [row["id"] for row in past.rows()] == ids


@on_postgresql
def test_a_cron_job_leaves_to_others_what_they_do(past: History) -> None:
    def archive() -> int:
        _archive_rest(past)
        query = (
            "SELECT analyze_count FROM pg_stat_all_tables"
            " WHERE relid = 'workertoolbox_history'::regclass"
        )
        with past.engine.connect() as connection:
            return int(connection.execute(text(query)).scalar_one())

    collected = archive()
    again = archive()
    with past.engine.begin() as other:
        other.execute(select(func.pg_advisory_xact_lock(ARCHIVER_LOCK_KEY)))
        output = call_tasks_command(past.app, "archive", "--once")

    assert 1 <= collected == again
    assert output == "0 tasks archived; another archiver is at work\n"


def _archive_rest(past: History) -> int:
    """Archive the rest if an archiver ended because the other one was working."""
    return Archiving(past.engine, past.options, should_stop=lambda: False).run_once()


def test_a_row_that_cannot_be_read_does_not_stop_the_others(
    past: History, caplog: pytest.LogCaptureFixture
) -> None:
    for id in ("a", "b", "c"):
        past.store(states.SUCCESS, 42, id)
    with past.engine.begin() as connection:
        foreign = taskmeta.update().where(taskmeta.c.task_id == "b")
        connection.execute(foreign.values(attempts=[{}]))
    archiving = Archiving(past.engine, past.options, should_stop=lambda: False)

    assert archiving.run_once() == 2
    assert [row["id"] for row in past.rows()] == ["a", "c"]
    assert "task b stays out of history" in caplog.text


def test_many_tasks_are_archived_again_with_the_messages_that_arrive_late(
    past: History,
) -> None:
    ids = [f"{number:03}" for number in range(120)]
    for id in ids:
        past.store(states.FAILURE, ValueError("no map"), id)
    past.archive()
    for id in ids:
        past.publish(id)
    past.archive()

    assert [(row["id"], row["tracked"]) for row in past.rows()] == [
        (id, True) for id in ids
    ]


def test_a_task_that_the_database_refuses_does_not_stop_the_others(
    past: History, caplog: pytest.LogCaptureFixture
) -> None:
    is_sqlite = past.engine.dialect.name == "sqlite"
    if is_sqlite:
        trigger = (
            "CREATE TRIGGER refuse BEFORE INSERT ON workertoolbox_history"
            " WHEN new.id = 'b' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    else:
        trigger = (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF new.id = 'b' THEN RAISE data_exception USING MESSAGE = 'refused';"
            " END IF; RETURN new; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON workertoolbox_history"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    with past.engine.begin() as connection:
        connection.execute(text(trigger))
    for id in ("a", "b", "c"):
        past.store(states.SUCCESS, 42, id)
    archiving = Archiving(past.engine, past.options, should_stop=lambda: False)
    archived = archiving.run_once()
    on_table = (
        "" if past.engine.dialect.name == "sqlite" else " ON workertoolbox_history"
    )
    with past.engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER refuse{on_table}"))

    assert archived == 2
    assert [row["id"] for row in past.rows()] == ["a", "c"]
    assert "task b stays out of history" in caplog.text
    assert {row["id"] for row in past.shown()} == {"a", "b", "c"}


def test_a_message_stored_while_its_task_is_archived_is_archived_later(
    past: History,
) -> None:
    past.store(states.SUCCESS, 42)
    past.archive()
    with past.engine.begin() as connection:  # Undo the effect of the trigger.
        archived_at = connection.scalar(select(taskmeta.c.archived_at))
    past.publish()
    with past.engine.begin() as connection:
        connection.execute(taskmeta.update().values(archived_at=archived_at))
        tidy(connection, datetime.now(UTC), past.options)
    past.archive()

    assert past.rows()[0]["tracked"]
    assert count(past, task) == 0


@on_postgresql
@pytest.mark.parametrize("ended", ["archived", "revoked"])
def test_a_result_stored_while_a_message_queues_its_task_again_stays(
    past: History, ended: str
) -> None:
    past.store(states.SUCCESS, 42)
    if ended == "archived":
        past.archive()
    else:
        revoked = {"status": states.REVOKED, "started_at": None, "worker": None}
        with past.engine.begin() as connection:
            connection.execute(taskmeta.update().values(revoked))
    again_at = datetime.now(UTC)
    second: dict[str, Any] = {"status": states.SUCCESS, "result": b"43"}
    second |= {"published_at": again_at, "worker": "a@host"}
    second["date_done"] = again_at.replace(tzinfo=None)
    with past.engine.connect() as worker, ThreadPoolExecutor() as pool:
        worker.execute(taskmeta.update().values(second))
        headers: dict[str, Any] = {PUBLISHED_AT: again_at.isoformat()}
        monitor = pool.submit(past.publish, **headers)
        wait_until(lambda: past.waiting_sessions() == 1, timeout_s=10)
        worker.commit()
        monitor.result()
    [shown] = past.shown()
    past.archive()
    [row] = past.rows()

    assert (shown["status"], shown["result"]) == (states.SUCCESS, 43)
    assert (row["status"], row["result"]) == (states.SUCCESS, b"43")


@on_postgresql
def test_locked_rows_are_left_for_the_next_batch(
    past: History,
) -> None:
    for id in ("message", "result", "free"):
        past.publish(id)
        past.store(states.SUCCESS, 42, id)
    with past.engine.connect() as other:
        for column in (task.c.id, taskmeta.c.task_id):
            id = "message" if column.table is task else "result"
            other.execute(select(column).where(column == id).with_for_update())

        assert past.archive() == 1
    assert past.archive() == 2
    assert len(past.rows()) == len(past.shown()) == 3


@on_postgresql
def test_a_day_that_cannot_be_created_does_not_stop_the_archiver(
    past: History,
) -> None:
    past.store(states.SUCCESS, 42)
    long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=200)
    with past.engine.begin() as connection:
        connection.execute(taskmeta.update().values(date_done=long_ago))
    with past.engine.connect() as other:
        other.execute(
            text(
                "LOCK TABLE workertoolbox_history_default"
                " IN SHARE UPDATE EXCLUSIVE MODE"
            )
        )
        past.archive()
    [row] = past.rows()

    assert row["finished_at"] == long_ago.replace(tzinfo=UTC)
    assert row["day"] > long_ago.date()  # The nearest day that exists.


@on_postgresql
def test_days_are_created_ahead_and_for_each_retention_class(past: History) -> None:
    retention = Retention({"FAILURE": "365d", "it's 100% \u00fc": "7d"})
    options = replace(past.options, retention=retention)
    today = datetime.now(UTC)
    with past.engine.begin() as connection:
        tidy(connection, today + timedelta(days=30), options)
        days = set(existing_days(connection))
    past.options = options
    past.store(states.FAILURE, ValueError("no map"), "1")
    past.store(states.SUCCESS, 42, "2")
    past.archive()

    future = (today + timedelta(days=37)).date()
    expected = {"default", *retention.keeps}
    assert {each.keep for each in days if each.day == future} == expected
    assert [row["keep"] for row in past.rows()] == ["FAILURE", "default"]


@on_postgresql
def test_functions_with_the_owners_privileges_ignore_temporary_tables(
    past: History,
) -> None:
    past.store(states.SUCCESS, 42)
    with past.engine.begin() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE celery_taskmeta (id bigint)"))
        connection.execute(text("DELETE FROM public.celery_taskmeta"))
        connection.execute(text("DROP TABLE pg_temp.celery_taskmeta"))
        forgotten = connection.scalars(select(taskmeta.c.forgotten)).all()

    assert forgotten == [True]


@on_postgresql
def test_a_role_cannot_use_functions_with_the_owners_privileges(past: History) -> None:
    # In a trigger on its own table, a role's own casts would run with the privileges.
    query = text("""
        SELECT proname, has_function_privilege('public', oid, 'EXECUTE')
        FROM pg_proc WHERE prosecdef AND proname LIKE 'workertoolbox%'
    """)
    with past.engine.connect() as connection:
        public = {name: is_public for name, is_public in connection.execute(query)}

    assert len(public) >= 6
    assert not any(public.values()), public


@on_postgresql
def test_functions_that_search_days_for_their_owner_ignore_temporary_tables(
    past: History,
) -> None:
    past.store(states.SUCCESS, 42)
    past.archive()
    past.delete_result()
    planted = """
        CREATE TEMPORARY TABLE workertoolbox_history
            (id text, root_id text, group_id text, day date) PARTITION BY LIST (id);
        CREATE TEMPORARY TABLE planted PARTITION OF workertoolbox_history
            DEFAULT PARTITION BY RANGE (day);
        CREATE TEMPORARY TABLE planted_20990101 PARTITION OF planted DEFAULT
    """
    with past.engine.begin() as connection:
        for statement in planted.split(";"):
            connection.execute(text(statement))
        past.publish(connection=connection)
        connection.execute(text("DROP TABLE pg_temp.workertoolbox_history"))

    assert [row["status"] for row in past.shown()] == [states.SUCCESS]


@on_postgresql
@pytest.mark.parametrize("slow", [["b"], []], ids=["one task", "a batch"])
def test_a_batch_that_exceeds_the_statement_timeout_is_halved(
    past: History, caplog: pytest.LogCaptureFixture, slow: list[str]
) -> None:
    every_s = 0.0 if slow else 0.15
    refuse = (
        "CREATE FUNCTION delay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" PERFORM pg_sleep(CASE new.id WHEN '{''.join(slow)}' THEN 9"
        f" ELSE {every_s} END); RETURN new; END $$;"
        "CREATE TRIGGER delay BEFORE INSERT ON workertoolbox_history"
        " FOR EACH ROW EXECUTE FUNCTION delay()"
    )
    ids = ["a", "b", "c", "d"]
    for id in ids:
        past.store(states.SUCCESS, 42, id)
    with past.engine.begin() as connection:
        connection.execute(text(refuse))
        connection.execute(text("ALTER ROLE CURRENT_USER SET statement_timeout = 500"))
    past.engine.dispose()
    options = replace(past.options, batch_size=4)
    archiving = Archiving(past.engine, options, should_stop=lambda: False)
    try:
        archived = archiving.run_once()
    finally:
        with past.engine.begin() as connection:
            connection.execute(text("ALTER ROLE CURRENT_USER RESET ALL"))
            connection.execute(text("DROP FUNCTION delay CASCADE"))
        past.engine.dispose()

    assert archived == 4 - len(slow)
    assert "archiving 2 tasks at a time" in caplog.text
    assert ("task b alone exceeds statement_timeout" in caplog.text) == bool(slow)


def test_a_task_whose_result_is_elsewhere_is_archived_until_a_worker_stores_one(
    past: History,
) -> None:
    elsewhere: dict[str, Any] = {"workertoolbox_results_elsewhere": "redis"}
    store = TaskStore.from_engine(past.engine)
    past.publish("old", **elsewhere)
    past.publish("new", **elsewhere)
    now = datetime.now(UTC)
    with past.engine.begin() as connection:
        hidden = count_queued(connection, now)
        close_expired(connection, now, past.options)
        close_unexpected(connection, now + timedelta(days=1), past.options)
    past.archive()
    closed = {row["id"]: row["status"] for row in past.shown()}
    why = store.why("old").cause
    past.store(states.SUCCESS, 42, "new")
    past.archive()
    past.publish("next", **elsewhere)
    with past.engine.begin() as connection:
        [waiting] = count_queued(connection, now)

    assert [(each.queued, each.unknown) for each in hidden] == [(0, 2)]
    assert closed == {"old": "IGNORED", "new": "IGNORED"}
    assert why == "results_elsewhere"
    assert {row["id"]: row["status"] for row in past.rows()} == {
        "old": "IGNORED",
        "new": "SUCCESS",
    }
    assert (waiting.queued, waiting.unknown) == (1, 0)
