"""`tasks stats`, `backlog`, `errors`, `workers`, `services` and `stuck --p99`."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, states
from celery.bin.celery import celery
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from sqlalchemy import insert
from stored_tasks import MINUTE, publish, store_ended, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import error_group
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._store.figures import queues

HOUR = timedelta(hours=1)


def run(app: Celery, *words: str) -> Result:
    return CliRunner().invoke(celery, ["-A", app, "tasks", *words])  # type: ignore[list-item]


def lines(app: Celery, *words: str) -> list[str]:
    result = run(app, *words)

    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def objects(app: Celery, *words: str) -> list[dict[str, Any]]:
    """Return what a command prints with `--json`."""
    return [json.loads(line) for line in lines(app, *words, "--json")]


def add(store: TaskStore, *contributions: Contribution) -> None:
    with store.engine.begin() as connection:
        add_contributions(connection, contributions)


def test_stats_shows_each_name_with_the_change_since_the_window_before(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    hour = now.replace(minute=0, second=0) - 2 * HOUR
    site = Contribution("export.site", "export", "SUCCESS", hour, ran_s=2, took_s=90)
    failed = site._replace(status="FAILURE", retries=2)
    add(store, *[site] * 30, *[failed] * 10)
    add(store, *[site._replace(finished_at=hour - HOUR)] * 10)
    add(store, *[site._replace(name="export.rare", queue="msg")] * 2)
    window = ["--since", hour.isoformat(), "--until", (hour + HOUR).isoformat()]
    shown = lines(app, "stats", *window, "--utc")
    [title, counts, _, header, first, second, total] = shown
    end = hour + HOUR

    assert f"from {hour:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} (1.0 h)" in title
    assert counts.split() == ["32", "SUCCESS", "10", "FAILURE"]
    assert header.split()[:4] == ["name", "tasks", "per", "h"]
    assert first.split()[:8] == "export.site 40 ▲ 300 % 40.0 25.0 %".split()
    assert second.split()[0] == "export.rare"
    assert total.split()[:2] == ["all", "42"]
    *rows, rest, whole = objects(app, "stats", *window, "--limit", "1")
    assert [row["value"] for row in rows] == ["export.site"]
    assert (rest["kind"], rest["count"], whole["kind"]) == ("rest", 2, "total")
    assert (rows[0]["before"]["count"], rows[0]["retries"]) == (10, 20)
    by_queue = objects(app, "stats", *window, "--by", "queue")
    assert [(row["value"], row["count"]) for row in by_queue] == [
        *(("export", 40), ("msg", 2), (None, 42))
    ]


def test_stats_says_that_no_tasks_ended_and_refuses_unknown_names(
    app: Celery, store: TaskStore
) -> None:
    publish(store, "export", "1", task="export.site")

    assert lines(app, "stats", "--name", "export.site")[-1] == "no tasks ended"
    unknown = run(app, "stats", "--name", "export.sight")
    assert unknown.exit_code == 1
    assert "did you mean 'export.site'?" in unknown.output
    assert run(app, "stats", "--since", "1h", "--until", "2h").exit_code == 2
    by_worker = run(app, "stats", "--by", "worker")
    assert by_worker.exit_code == 2
    assert "`tasks workers` shows what each worker has ended" in by_worker.output


def test_stats_explains_that_tasks_that_ended_are_not_counted_yet(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    store_state(store, "1", states.STARTED, at=now)
    running = lines(app, "stats")[-1]
    store_state(store, "2", states.SUCCESS, at=now)

    assert running == "no tasks ended"
    assert lines(app, "stats")[-1].startswith("no tasks counted yet: tasks have ended")
    before = ("--since", "2h", "--until", "1h")
    assert lines(app, "stats", *before)[-1] == "no tasks ended"


def test_stats_warns_if_the_archiver_is_behind(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    warning = "Later tasks are not archived yet; a running monitor archives them."
    assert warning not in lines(app, "stats")
    store_state(store, "1", states.SUCCESS, at=now - 30 * MINUTE)

    assert lines(app, "stats")[-1] == warning
    assert warning not in lines(app, "stats", "--until", "now")


def test_backlog_shows_what_waits_and_exits_with_1_if_it_waits_too_long(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    assert lines(app, "backlog") == ["no queue has had tasks within the last hour"]
    publish(store, "export", *map(str, range(1200)), at=now - 20 * HOUR)
    publish(store, "msg", "m")
    store_state(store, "m", states.STARTED, queue="msg", worker="a@host")
    header, export, msg = lines(app, "backlog")

    assert header.split()[:6] == "queue waiting oldest ETA ahead retrying".split()
    assert export.split()[:4] == ["export", "1,200", "20.0", "h"]
    assert "none" in export.split()
    # Without a task that waits, there is no oldest one.
    assert msg.split()[:4] == ["msg", "0", "0", "0"]
    check = ["backlog", "--exit-code", "--max-age"]
    assert run(app, *check, "15h").exit_code == 1
    assert run(app, *check, "25h").exit_code == 0
    assert run(app, *check, "15h", "--queue", "msg").exit_code == 0
    assert run(app, "backlog", "--max-age", "15h").exit_code == 0
    assert run(app, "backlog", "--exit-code").exit_code == 2
    assert run(app, "backlog", "--queue", "none").exit_code == 1
    [found] = objects(app, "backlog", "--queue", "export")
    assert (found["queued"], found["consumers"], found["drain_s"]) == (1200, [], None)
    assert datetime.fromisoformat(found["counted_at"]) >= now


def test_backlog_does_not_know_the_workers_of_an_app_whose_results_are_elsewhere(
    app: Celery, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, "export", "1")
    database = app.conf.result_backend
    plain = lines(app, "backlog")[1]
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_BACKEND", database)
    app.conf.update(result_backend="redis://")
    elsewhere = lines(app, "backlog")[1]
    same_database = f"db+{database.removeprefix('workertoolbox+')}"
    app.conf.update(result_backend=same_database)
    same = lines(app, "backlog")[1]

    assert "none" in plain.split() and "none" in same.split()
    assert "unknown" in elsewhere.split()


def test_backlog_does_not_know_what_waits_of_tasks_whose_results_are_elsewhere(
    app: Celery, store: TaskStore
) -> None:
    publish(store, "export", "1", workertoolbox_results_elsewhere="redis")

    assert lines(app, "backlog")[1].split().count("unknown") == 2


def test_a_backlog_that_is_not_known_is_trouble(
    app: Celery, store: TaskStore, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MAX_COUNTED", 1)
    publish(store, "export", "1", "2", at=now - MINUTE)
    check = ["backlog", "--max-age", "1h", "--exit-code"]
    advice = "A running monitor counts the tasks once a minute."
    uncounted = run(app, *check)
    with store.engine.begin() as connection:
        sample_backlog(connection, now - 10 * MINUTE)
    outdated = run(app, *check)
    with store.engine.begin() as connection:
        sample_backlog(connection, now)
    counted = run(app, *check)

    assert [each.exit_code for each in (uncounted, outdated, counted)] == [1, 1, 0]
    assert uncounted.output.splitlines()[-1] == advice
    assert outdated.output.splitlines()[-1].startswith("Counted in the archiver's")
    assert outdated.output.splitlines()[-1].endswith(f". {advice}")
    assert advice not in counted.output


def add_group(store: TaskStore, id: str, at: datetime, **values: Any) -> None:
    row = {
        **{"id": id, "version": 1, "name": "export.site", "place": "export.fetch"},
        **{"sample": "Timeout: no answer\nfrom host", "state": "open", "count": 3},
        **{"first_task_id": "f", "last_task_id": "l", "retries": 1},
        **{"first_at": at, "last_at": at, **values},
    }
    with store.engine.begin() as connection:
        connection.execute(insert(error_group).values(**row))
    failure = Contribution("export.site", "export", "FAILURE", at, error_group=id)
    add(store, *[failure] * 2, failure._replace(status="RETRY", retries=1))


def test_errors_lists_groups_and_exits_with_1_if_there_are_new_ones(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    assert lines(app, "errors", "--new", "--exit-code") == ["no errors"]
    store_state(store, "1", "FAILURE", name="export.site")
    [unlisted] = lines(app, "errors", "--exit-code")
    assert unlisted.startswith("no errors yet: tasks have failed, and their errors")
    assert not store.has_unlisted_failures(name="export.other")
    add_group(store, "1:old", now - 48 * HOUR)
    assert run(app, "errors", "--new", "--exit-code").exit_code == 0
    add_group(store, "1:new", now)
    solved_at = now - 2 * HOUR
    states_of = {"state": "resolved", "resolved_at": solved_at, "last_at": now - HOUR}
    add_group(store, "1:back", now - 72 * HOUR, **states_of)
    news = run(app, "errors", "--new", "--exit-code")

    assert news.exit_code == 1
    assert [line.split()[0] for line in news.output.splitlines()[1::2]] == [
        "new",
        "back",
    ]
    assert "  Timeout: no answer…  in export.fetch" in news.output.splitlines()
    assert [each["id"] for each in objects(app, "errors")] == [
        *("1:new", "1:back", "1:old")
    ]
    assert [each["id"] for each in objects(app, "errors", "--since", "90m")] == [
        *("1:new", "1:back")
    ]
    assert len(objects(app, "errors", "list", "--limit", "1")) == 1
    assert objects(app, "errors", "--state", "ongoing")[0]["recent"] == [0] * 24
    assert run(app, "errors", "--new", "--state", "back").exit_code == 2
    assert run(app, "errors", "--name", "export.sight").exit_code == 1


def test_errors_shows_a_group_with_its_names_and_tasks(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    add_group(store, "1:a", now - HOUR)
    failed = {"status": "FAILURE", "name": "export.site", "error_group": "1:a"}
    store_ended(store, "t", at=now - HOUR, **failed)
    shown = run(app, "errors", "show", "1:a").output

    assert "Timeout: no answer\nfrom host\n" in shown
    assert f"first       {(now - HOUR).astimezone():%Y-%m-%d %H:%M:%S}  f\n" in shown
    assert "raised in   export.fetch\n" in shown
    assert "export.site               3\n" in shown
    assert shown.splitlines()[-1].endswith("  t")
    [found] = objects(app, "errors", "show", "1:a")
    assert found["names"] == {"export.site": 3}
    missing = run(app, "errors", "show", "1:b")
    assert (missing.exit_code, len(missing.output.splitlines())) == (1, 1)


def test_errors_are_resolved_ignored_and_reopened(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    add_group(store, "1:a", now - HOUR)
    add_group(store, "1:b", now - HOUR)

    assert lines(app, "errors", "resolve", "1:a", "1:b") == [
        *("1:a resolved", "1:b resolved")
    ]
    assert {each.state for each in store.error_groups()} == {"resolved"}
    by = ("--by", "ann", "--reason", "known")
    assert lines(app, "errors", "ignore", "1:a", *by) == ["1:a ignored"]
    assert store.error_group("1:a").state == "ignored"
    assert lines(app, "errors", "reopen", "1:a") == ["1:a open again"]
    assert store.error_group("1:a").state == "new"
    assert run(app, "errors", "resolve", "1:c").exit_code == 1
    made = objects(app, "operations")
    assert [(each["kind"], each["selection"], each["reason"]) for each in made] == [
        ("reopen", "1:a", None),
        ("ignore", "1:a", "known"),
        ("resolve", "1:b", None),
        ("resolve", "1:a", None),
    ]
    assert [each["made_by"] == "ann" for each in made] == [False, True, False, False]
    assert "  by ann: known\n" in run(app, "errors", "show", "1:a").output
    assert " 0 of 0 " not in run(app, "operations").output


def test_workers_shows_when_each_was_seen_and_what_it_runs(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    assert lines(app, "workers") == ["no worker was seen"]
    at = now - 5 * MINUTE
    store_ended(store, "1", at=at, worker="a@host")
    store_ended(store, "2", at=at, worker="a@host", status=states.FAILURE)
    running = {"worker": "b@host", "name": "export.site", "started_at": at}
    for id in "345":
        store_state(store, id, states.STARTED, at=at, **running)
    store_ended(store, "6", at=now - 3 * HOUR, worker="c@host")
    _, first, second = lines(app, "workers")

    assert re.fullmatch(r"a@host +5\.\d min ago +2 +50\.0 % +0", first)
    task = r"export\.site 5\.\d min"
    tasks = rf"{task}, {task} and 1 more"
    assert re.fullmatch(rf"b@host +5\.\d min ago +0 +3  {tasks}", second)
    found = objects(app, "workers", "--since", "4h")
    assert [each["name"] for each in found] == ["a@host", "b@host", "c@host"]
    assert [each["id"] for each in found[1]["running"]] == ["3", "4", "5"]


def test_services_shows_senders_tasks_and_workers(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    assert lines(app, "services") == ["no tasks were published"]
    for number in range(3):
        worker = f"w{number}@host"
        store_ended(store, str(number), at=now - HOUR, worker=worker, service="web")
    publish(store, "msg", "m", task="msg.notify", origin="gen7@beat")
    store_ended(store, "u", at=now - HOUR, name="b", tracked=False)
    shown = [line.split() for line in lines(app, "services")]

    assert shown[1][:7] == ["(untracked)", "b", "export", "not", "run", "yet", "1.0"]
    assert shown[2][:6] == ["beat", "msg.notify", "msg", "not", "run", "yet"]
    assert shown[3][:3] == ["web", "a", "export"]
    assert " ".join(shown[3][3:8]) == "w0@host, w1@host and 1 more"
    assert objects(app, "services")[2]["workers"] == ["w0@host", "w1@host", "w2@host"]


def test_stuck_compares_with_the_99th_percentile_of_a_name(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    add(store, Contribution("report", "export", "SUCCESS", now, ran_s=90_000))
    add(store, Contribution("quick", "export", "SUCCESS", now, ran_s=1))
    for id, name in (("r", "report"), ("q", "quick")):
        at = now - 20 * HOUR
        store_state(store, id, states.STARTED, at=at, started_at=at, name=name)
    header, quick = lines(app, "stuck", "--p99")

    assert header.split() == "status for p99 queue name worker id".split()
    assert quick.split() == "STARTED 20.0 h 1.0 s quick q".split()
    [found] = objects(app, "stuck", "--p99")
    assert (found["id"], found["p99_s"]) == ("q", pytest.approx(1, rel=0.02))
    assert run(app, "stuck", "--p99", "--exit-code").exit_code == 1
    assert (
        run(app, "stuck", "--p99", "--older-than", "30h", "--exit-code").exit_code == 0
    )
    assert run(app, "stuck", "--older-than", "15h", "--exit-code").exit_code == 1
    assert run(app, "stuck", "--older-than", "30h", "--exit-code").exit_code == 0
    assert lines(app, "stuck") == [header, quick]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list"], "no task was found"),
        (["list", "--all"], "no task was found"),
        (["stuck"], "no task is stuck"),
        (["stuck", "--older-than", "1d"], "no task is stuck"),
        (["schedules"], "beat has sent no task with the toolbox yet"),
        (["operations"], "no task was rerun, and no error was changed"),
        (["quarantine", "list"], "no message is in quarantine"),
    ],
)
def test_an_empty_list_is_a_sentence(
    app: Celery, store: TaskStore, words: list[str], sentence: str
) -> None:
    assert lines(app, *words) == [sentence]
    assert objects(app, *words) == []


@pytest.mark.parametrize(
    "words",
    [
        *(["stats"], ["backlog"], ["errors"], ["errors", "list"], ["errors", "show"]),
        *(["workers"], ["services"], ["stuck"]),
    ],
)
def test_the_help_ends_with_an_example(app: Celery, words: list[str]) -> None:
    last = run(app, *words, "--help").output.splitlines()[-1]

    assert last.startswith(f"  Example: celery -A proj tasks {words[0]}")


@pytest.mark.parametrize(
    "words",
    [
        *(["stats", "--name"], ["errors", "list", "--name"], ["stuck", "--name"]),
        *(["stats", "--queue"], ["backlog", "--queue"], ["stuck", "--queue"]),
    ],
)
def test_a_shell_completes_names_and_queues(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("completed_app.py").write_text(
        "from celery import Celery\n"
        "app = Celery('completed_app', broker='memory://', set_as_current=False)\n"
        "app.conf.task_queues = []\n"
        "app.amqp.queues.add('export-slow')\n"
        "@app.task(name='export.site', shared=False)\n"
        "def site(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    completion = ShellComplete(celery, {}, "celery", "_CELERY_COMPLETE")
    found = completion.get_completions(["-A", "completed_app", "tasks", *words], "ex")

    expected = "export.site" if words[-1] == "--name" else "export-slow"
    assert [each.value for each in found] == [expected]
