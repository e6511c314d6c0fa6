"""Tasks that are published again: the rules, the messages and the journal."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner, Result
from kombu import Queue
from kombu.utils.json import loads
from messages import message
from sqlalchemy import update
from stored_tasks import store_ended, store_state
from taken_messages import take

from cadasta.workertoolbox.results import (
    BrokerUnavailable,
    InvalidRate,
    OperationTask,
    StillPublishing,
    TaskStore,
    UnreadMessages,
    begin_rerun,
    plan_rerun,
    rerun,
    resume_rerun,
)
from cadasta.workertoolbox.results._database.tables import operation_task, task
from cadasta.workertoolbox.results._headers import RERUN
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._history.purge import find_older, purge
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._reruns.messages import new_id
from cadasta.workertoolbox.results._reruns.pace import parse_rate
from cadasta.workertoolbox.results._reruns.publishing import (
    CLOCK_SKEW,
    LEASE,
    READ_AHEAD,
)

#: High enough not to wait.
FAST = 10_000

#: Ahead of every test.
LATER = "2099-01-01T00:00:00+00:00"


@pytest.fixture
def exporter(app: Celery) -> Celery:
    """An app with an empty queue `export`, on a broker in memory."""
    app.amqp.queues.add(Queue("export"))
    take(app)
    return app


def bodies(app: Celery) -> list[Any]:
    return [json.loads(each.body) for each in take(app)]


def track(store: TaskStore, *given: Mapping[str, Any], **options: Any) -> None:
    """Store messages, as a monitor does; each task has the queue `export`."""
    now = datetime.now(UTC)
    records = [read_task(message(**each), seen_at=now, **options) for each in given]
    with store.engine.begin() as connection:
        write_batch(connection, records)


def fail(store: TaskStore, *given: Mapping[str, Any], **options: Any) -> list[str]:
    """Store messages and failures of tasks, and return their ids."""
    track(store, *given, **options)
    ids = [each["id"] for each in given]
    for id in ids:
        store_state(store, id, "FAILURE", result=b'{"exc_type": "E"}', worker="w@h")
    return ids


def refusal(app: Celery, store: TaskStore, id: str) -> str | None:
    [found] = plan_rerun(app, store, [id]).tasks
    return found.refusal


def publish(app: Celery, store: TaskStore, *ids: str, **options: Any) -> list[Any]:
    """Publish tasks again, and return their messages."""
    states = [each.state for each in rerun(app, store, ids, per_s=FAST, **options)]
    assert states == ["published"] * len(ids)
    return take(app)


def interrupt(
    app: Celery, store: TaskStore, *ids: str, state: str = "waiting"
) -> tuple[str, list[OperationTask]]:
    """Stop an operation after its first task, and change the state of the others."""
    outcomes = rerun(app, store, ids, per_s=FAST)
    first = next(outcomes)
    others = operation_task.c.task_id != ids[0]
    with store.engine.begin() as connection:
        connection.execute(update(operation_task).where(others).values(state=state))
    return first.operation_id, [first]


def run(app: Celery, *words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(
        celery,
        ["-A", app, "tasks", *words],  # type: ignore[list-item]
        input=text,
    )


def test_a_rerun_has_the_arguments_and_the_options_of_the_task(
    exporter: Celery, store: TaskStore
) -> None:
    instant = {"__type__": "datetime", "__value__": "2026-06-01T00:00:00+00:00"}
    headers: dict[str, Any] = {
        **{"order": {"id": 7}, "stamps": {"tenant": "t"}, "shadow": "s"},
        **{"timelimit": [30, 20], "expires": LATER, "ignore_result": True},
        "eta": "2026-01-01T00:00:00+00:00",
    }
    given = message([[instant, 1.5], {"b": None}, {}], id="1", **headers)
    properties: Any = given.properties
    properties["priority"] = 3
    with store.engine.begin() as connection:
        write_batch(connection, [read_task(given, seen_at=datetime.now(UTC))])
    store_state(store, "1", "FAILURE")
    [sent] = publish(exporter, store, "1")
    [args, kwargs, embedded] = json.loads(sent.body)
    decoded = loads(sent.body)

    assert (args, kwargs) == ([instant, 1.5], {"b": None})
    assert decoded[0][0] == datetime(2026, 6, 1, tzinfo=UTC)
    assert not any(embedded.values())
    assert sent.properties["priority"] == 3
    [operation] = store.operations()
    own = new_id(operation.id, "1")
    wanted = {
        **{"id": own, "root_id": own, "parent_id": None, "group": None},
        **{"order": {"id": 7}, "stamps": {"tenant": "t"}, "shadow": "s"},
        **{"stamped_headers": ["tenant"], "timelimit": [30, 20], "retries": 0},
        **{"expires": LATER, "eta": None, "ignore_result": True},
        **{RERUN: {"of": "1", "id": own, "operation": operation.id}},
    }
    assert {name: sent.headers[name] for name in wanted} == wanted
    again = read_task(sent, seen_at=datetime.now(UTC))
    assert (again.rerun_of, again.headers) == ("1", {"order": {"id": 7}, "tenant": "t"})


@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
def test_the_queue_of_the_task_wins_over_the_options_of_its_class(
    exporter: Celery, store: TaskStore
) -> None:
    @exporter.task(
        name="export.project",
        queue="celery",
        routing_key="celery",
        serializer="pickle",
        shared=False,
    )
    def project() -> None: ...

    exporter.finalize()  # Celery finds the class of tasks that it has registered.
    fail(store, {"id": "1"}, {"id": "2", "eta": LATER})
    sent = publish(exporter, store, "1", "2")

    assert [each.headers["eta"] for each in sent] == [None, LATER]
    assert {each.content_type for each in sent} == {"application/json"}


def test_a_mapped_task_is_published_under_its_own_name(
    exporter: Celery, store: TaskStore
) -> None:
    inner = {"task": "export.project", "args": [], "kwargs": {}}
    body = [[inner, [[1], [2]]], {}, {}]
    fail(store, {"id": "1", "task": "celery.starmap", "body": body})
    [sent] = publish(exporter, store, "1")

    assert store.get("1").name == "export.project"
    assert sent.headers["task"] == "celery.starmap"
    assert json.loads(sent.body)[:2] == body[:2]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"body": [[], {"token": "t"}, {}]}, "its stored arguments were redacted"),
        ({"body": [["x" * 70_000], {}, {}]}, "its stored arguments were cut off"),
        ({"workertoolbox_shown": {"argsrepr": "()"}}, "only the text .* argsrepr"),
        ({"body": [[float("nan")], {}, {}]}, "a value that the database does not keep"),
        ({"api_key": "k"}, "its own headers were redacted"),
        ({"task": "celery.chord_unlock"}, "one of Celery's own tasks"),
        ({"routing_key": "exprot"}, "queue 'exprot' is not declared"),
    ],
)
def test_a_task_that_cannot_be_rerun_is_refused_with_the_reason(
    exporter: Celery, store: TaskStore, headers: dict[str, Any], reason: str
) -> None:
    fail(store, {"id": "1", **headers})

    with pytest.raises(AssertionError, match="refused"):
        publish(exporter, store, "1")
    [operation] = store.operations()
    [refused] = store.operation_tasks(operation.id)
    assert refused.note and re.search(reason, refused.note)
    assert take(exporter) == []
    assert "exprot" not in exporter.amqp.queues
    assert store.reruns(["1"]) == {}


def test_tasks_that_have_not_ended_or_have_no_message_are_refused(
    exporter: Celery, store: TaskStore
) -> None:
    step = {
        "task": "export.send",
        "args": [],
        "kwargs": {},
        "options": {"task_id": "p"},
    }
    track(store, {"id": "queued", "body": [[], {}, {"chain": [step]}]})
    track(store, {"id": "running"}, {"id": "retried"})
    store_state(store, "running", "STARTED")
    store_state(store, "retried", "RETRY")
    store_state(store, "untracked", "FAILURE", name="export.project")
    store_state(store, "step", "FAILURE", name="export.send", not_run="not run: x")
    store_ended(store, "old", scheduled_at=datetime.now(UTC))

    assert {
        id: refusal(exporter, store, id)
        for id in ("queued", "running", "retried", "p", "untracked", "step", "old")
    } == {
        "queued": "it has not ended: it is QUEUED",
        "running": "it has not ended: it is STARTED",
        "retried": "it has not ended: it is RETRY",
        "p": "it has not been published yet",
        "untracked": "no monitor has seen its message",
        "step": "it was never published: a task before it did not succeed",
        "old": "it is not known whether its stored arguments are whole: an earlier "
        "release has stored them, or they are those of another message",
    }


def test_the_message_of_another_run_is_not_used(
    exporter: Celery, store: TaskStore
) -> None:
    track(store, {"id": "1"})
    store_state(store, "1", "FAILURE", published_at=datetime.now(UTC), retries=3)

    assert "another message" in (refusal(exporter, store, "1") or "")


@pytest.mark.parametrize("name", ["args", "headers"])
def test_arguments_that_an_earlier_release_replaced_are_not_used(
    exporter: Celery, store: TaskStore, name: str
) -> None:
    fail(store, {"id": "1"}, {"id": "2", "order": 1.5})
    change = update(task).where(task.c.id == "1").values({name: [1]})
    with store.engine.begin() as connection:
        connection.execute(change)
    first, second = rerun(exporter, store, ["1", "2"], per_s=FAST)

    assert first.note == "its arguments have been replaced by those of another message"
    assert second.state == "published"


def test_a_route_that_refuses_the_task_is_reported(
    exporter: Celery, store: TaskStore
) -> None:
    def route(name: str, *_: Any, **__: Any) -> Any:
        raise LookupError(f"no route for {name}")

    fail(store, {"id": "1"})
    exporter.conf.task_routes = (route,)
    exporter.amqp.flush_routes()
    [outcome] = rerun(exporter, store, ["1"])

    assert outcome.state == "refused"
    assert outcome.note == "it cannot be routed: no route for export.project"


def test_a_task_is_rerun_once_unless_it_is_asked_for_again(
    exporter: Celery, store: TaskStore
) -> None:
    fail(store, {"id": "1"})
    [first] = publish(exporter, store, "1")
    [done] = store.reruns(["1", "2"])["1"]
    refused = refusal(exporter, store, "1")
    [second] = publish(exporter, store, "1", again=True)

    assert done.new_id == first.headers["id"] != second.headers["id"]
    assert refused == f"operation {done.operation_id} has rerun it; see --again"


@pytest.mark.parametrize("again", [False, True])
def test_a_task_that_another_operation_publishes_meanwhile_is_refused(
    exporter: Celery, store: TaskStore, again: bool
) -> None:
    fail(store, {"id": "1"}, {"id": "2"})
    late = begin_rerun(store, plan_rerun(exporter, store, ["1"], again=again))
    [done] = rerun(exporter, store, ["1"], per_s=FAST, again=True)
    [refused] = resume_rerun(exporter, store, late, per_s=FAST)

    assert (done.state, refused.state) == ("published", "refused")
    assert refused.note == f"operation {done.operation_id} has rerun it meanwhile"
    assert len(take(exporter)) == 1


def test_of_two_operations_that_begin_together_one_publishes_a_task(
    exporter: Celery, store: TaskStore
) -> None:
    fail(store, {"id": "1"})
    plans = [plan_rerun(exporter, store, ["1"]) for _ in range(2)]
    one, other = (begin_rerun(store, each) for each in plans)
    found: list[OperationTask] = []

    def should_stop() -> bool:
        # The rules of the first one are checked, and it waits for its turn.
        if not found:
            found.extend(resume_rerun(exporter, store, other, per_s=FAST))
        return False

    found += resume_rerun(exporter, store, one, per_s=FAST, should_stop=should_stop)

    assert [each.state for each in found] == ["published", "refused"]
    assert found[1].note == f"operation {other} has rerun it meanwhile"
    assert [each.headers["id"] for each in take(exporter)] == [found[0].new_id]


def test_a_task_that_was_published_between_the_plan_and_its_operation_is_refused(
    exporter: Celery, store: TaskStore
) -> None:
    fail(store, {"id": "1"})
    plan = plan_rerun(exporter, store, ["1"])
    [done] = rerun(exporter, store, ["1"], per_s=FAST)
    late = begin_rerun(store, plan)
    [refused] = resume_rerun(exporter, store, late, per_s=FAST)

    assert (done.state, refused.state) == ("published", "refused")
    assert len(take(exporter)) == 1


def test_a_resumed_operation_publishes_the_rest_and_nothing_twice(
    exporter: Celery, store: TaskStore
) -> None:
    ids = fail(store, *({"id": str(number)} for number in range(5)))
    stopped = iter([False, False, True])
    first = [
        *rerun(exporter, store, ids, per_s=FAST, should_stop=lambda: next(stopped))
    ]
    id = first[0].operation_id
    before, blocked = store.operation(id), refusal(exporter, store, "4")
    rest = [*resume_rerun(exporter, store, id, per_s=FAST)]
    nothing = [*resume_rerun(exporter, store, id, per_s=FAST)]

    assert (before.published, before.waiting, before.finished_at) == (2, 3, None)
    assert blocked == f"operation {id}, which has not ended, contains it"
    assert [each.task_id for each in [*first, *rest]] == ids
    assert nothing == []
    sent = [each.headers["id"] for each in take(exporter)]
    assert sent == [new_id(id, each) for each in ids]
    assert store.operation(id).finished_at is not None


def test_a_task_in_doubt_is_published_again_only_when_that_is_asked_for(
    exporter: Celery, store: TaskStore
) -> None:
    ids = fail(store, {"id": "1"}, {"id": "2"}, {"id": "3"})
    id, _ = interrupt(exporter, store, *ids, state="publishing")
    track(store, {"id": new_id(id, "2")})  # A monitor has seen its message.
    resumed = [*resume_rerun(exporter, store, id, per_s=FAST)]
    with pytest.raises(StillPublishing, match="another process at this moment"):
        [*resume_rerun(exporter, store, id, per_s=FAST, doubtful=True)]
    earlier = datetime.now(UTC) - LEASE - CLOCK_SKEW
    with store.engine.begin() as connection:
        connection.execute(update(operation_task).values(changed_at=earlier))
    with pytest.raises(UnreadMessages, match="may have been published"):
        [*resume_rerun(exporter, store, id, per_s=FAST, doubtful=True)]
    unread = [each.headers["id"] for each in take(exporter)]
    ahead = datetime.now(UTC) + timedelta(minutes=1)
    with store.engine.begin() as connection:
        report_progress(connection, "m", read_until=ahead, now=datetime.now(UTC))
    [last] = resume_rerun(exporter, store, id, per_s=FAST, doubtful=True)

    assert [(each.task_id, each.state) for each in resumed] == [
        ("2", "published"),
        ("3", "publishing"),
    ]
    assert unread == [new_id(id, "1")]
    assert (last.task_id, last.state) == ("3", "published")
    assert [each.headers["id"] for each in take(exporter)] == [new_id(id, "3")]


def test_two_processes_that_resume_an_operation_share_its_tasks(
    exporter: Celery, store: TaskStore
) -> None:
    ids = fail(store, *({"id": str(number)} for number in range(6)))
    id, _ = interrupt(exporter, store, *ids)
    one, other = (resume_rerun(exporter, store, id, per_s=FAST) for _ in range(2))
    found = [next(one), next(other), next(one), *other, *one]

    assert sorted(each.task_id for each in found) == ids[1:]
    assert len({each.headers["id"] for each in take(exporter)}) == len(ids)


def test_a_task_that_another_process_publishes_meanwhile_is_not_in_doubt(
    exporter: Celery, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fail(store, *({"id": f"{number:02}"} for number in range(READ_AHEAD + 3)))
    id, _ = interrupt(exporter, store, *ids)
    one = resume_rerun(exporter, store, id, per_s=FAST, doubtful=True)
    for _ in range(READ_AHEAD):
        next(one)
    take(exporter)
    send_task = exporter.send_task

    def send_while_one_goes_on(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(exporter, "send_task", send_task)
        next(one)
        return send_task(*args, **options)

    monkeypatch.setattr(exporter, "send_task", send_while_one_goes_on)
    [*resume_rerun(exporter, store, id, per_s=FAST)]
    sent = [each.headers["id"] for each in take(exporter)]

    assert sorted(sent) == sorted(new_id(id, each) for each in ids[-2:])


def test_a_broker_that_is_away_leaves_the_tasks_to_a_resume(
    exporter: Celery, store: TaskStore
) -> None:
    fail(store, {"id": "1"})
    away = Celery("away", broker="amqp://127.0.0.1:1//", set_as_current=False)
    away.amqp.queues.add(Queue("export"))
    with pytest.raises(BrokerUnavailable, match="continue with .* --resume"):
        [*rerun(away, store, ["1"])]
    [operation] = store.operations()
    [outcome] = resume_rerun(exporter, store, operation.id)

    assert (operation.waiting, operation.doubtful) == (1, 0)
    assert outcome.state == "published"


def test_an_unknown_error_leaves_the_task_in_doubt(
    exporter: Celery, store: TaskStore
) -> None:
    fail(store, {"id": "1"}, {"id": "2"})
    exporter.conf.task_compression = "no such compression"
    found = [*rerun(exporter, store, ["1", "2"], per_s=FAST)]

    assert [each.state for each in found] == ["publishing"] * 2
    assert "no such compression" in (found[0].note or "")
    assert store.operations()[0].finished_at is None


def test_the_rate_is_kept(exporter: Celery, store: TaskStore) -> None:
    ids = fail(store, *({"id": str(number)} for number in range(5)))
    # The first one takes longer: it opens the connection to the broker.
    _, *instants = (each.changed_at for each in rerun(exporter, store, ids, per_s=20))

    assert instants[-1] - instants[0] >= timedelta(seconds=3 / 20 - 0.02)


@pytest.mark.parametrize(
    ("text", "per_s"), [("10/s", 10), ("90/m", 1.5), ("36/h", 0.01), ("0.5/s", 0.5)]
)
def test_rates_are_numbers_per_second_minute_or_hour(text: str, per_s: float) -> None:
    assert parse_rate(text) == pytest.approx(per_s)


@pytest.mark.parametrize("text", ["", "10", "0/s", "-1/s", "10/d", "1e9/s", "99999/s"])
def test_other_rates_are_refused(text: str) -> None:
    with pytest.raises(InvalidRate, match="is not a rate; write 10/s"):
        parse_rate(text)


def test_the_command_shows_what_it_would_publish_and_asks_for_the_number(
    exporter: Celery, store: TaskStore
) -> None:
    fail(store, {"id": "1"}, {"id": "2", "group": "g"}, {"id": "secret", "token": "t"})
    track(store, {"id": "waits"})
    asked = run(exporter, "rerun", "1", "2", "secret", "waits", text="3\n")
    nothing = run(exporter, "rerun", "1", text="")
    unchanged = (take(exporter), store.operations())
    done = run(exporter, "rerun", "1", "2", "secret", text="2\n")

    assert asked.output.splitlines()[:6] == [
        "name            queue   status   tasks",
        "export.project  export  FAILURE      2",
        "cannot rerun 1 task: its own headers were redacted or cut off (secret)",
        "cannot rerun 1 task: it has not ended: it is QUEUED (waits)",
        "steps of workflows among them: 1; they run alone, without the steps after "
        "them",
        "This publishes 2 tasks, in about 200 ms. Type 2 to go on: 3",
    ]
    assert asked.exit_code == nothing.exit_code == 1
    assert "type the number of tasks, or add --yes" in nothing.output
    assert unchanged == ([], [])
    assert len(take(exporter)) == 2
    assert done.exit_code == 1  # One of them was refused.
    assert "2 of 3 published, 1 refused" in done.output
    assert f"2 → {store.reruns('2')['2'][0].new_id}  without its group" in done.output


def test_a_query_selects_the_newest_tasks_and_publishes_the_oldest_first(
    exporter: Celery, store: TaskStore
) -> None:
    for number in range(4):
        at = f"2026-01-02T03:04:0{number}+00:00"
        fail(store, {"id": str(number), "workertoolbox_published_at": at})
    options = ("--query", "status:failure", "--limit", "3", "--by", "ann")
    done = run(exporter, "rerun", *options, "--yes", "--reason", "outage", "--json")
    listed = run(exporter, "operations", "--json")
    [operation] = map(json.loads, listed.output.splitlines())
    tasks = run(exporter, "operations", operation["id"], "--json").output

    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["task_id"] for each in lines] == ["1", "2", "3"]
    assert "more tasks match; these are the newest 3" in done.stderr
    assert operation["made_by"] == "ann" and operation["reason"] == "outage"
    assert operation["selection"] == "status:failure" and operation["published"] == 3
    assert [json.loads(line) for line in tasks.splitlines()] == lines


def test_both_sides_of_a_rerun_are_shown(exporter: Celery, store: TaskStore) -> None:
    fail(store, {"id": "1"})
    [sent] = publish(exporter, store, "1")
    with store.engine.begin() as connection:
        write_batch(connection, [read_task(sent, seen_at=datetime.now(UTC))])
    new = sent.headers["id"]
    old_json, new_json = (
        json.loads(run(exporter, "show", id, "--json").output) for id in ("1", new)
    )

    assert f"1 rerun as {new} (published" in run(exporter, "show", "1").output
    assert "rerun of 1" in run(exporter, "show", new).output
    assert (old_json["reruns"], old_json["rerun_of"]) == ([new], None)
    assert (new_json["reruns"], new_json["rerun_of"]) == ([], "1")


@pytest.mark.parametrize(
    ("words", "exit_code", "error"),
    [
        ([], 2, "name tasks by their IDs, or select them by --query"),
        (["1", "--query", "status:failure"], 2, "name tasks by their IDs"),
        (["1", "--doubtful"], 2, "--doubtful needs --resume"),
        (["1", "--rate", "10"], 2, "'10' is not a rate; write 10/s"),
        (["--status", "fail"], 2, "no task has the status 'fail'"),
        (["--query", "name:none"], 1, "no task matches"),
        (["1"], 1, "no task with id '1'"),
        (["--resume", "x"], 1, "there is no operation 'x'"),
    ],
)
def test_wrong_use_of_the_command_is_one_line(
    exporter: Celery, words: list[str], exit_code: int, error: str
) -> None:
    result = run(exporter, "rerun", *words)

    assert result.exit_code == exit_code
    assert error in result.output.splitlines()[-1]


def test_old_operations_are_purged(exporter: Celery, store: TaskStore) -> None:
    fail(store, {"id": "1"})
    publish(exporter, store, "1")
    expired = find_older(store.engine, datetime.now(UTC) + timedelta(seconds=1))
    deleted = sum(purge(store.engine, expired), Counter[str]())

    assert deleted["operations"] == 1
    assert store.operations() == [] and store.reruns(["1"]) == {}
