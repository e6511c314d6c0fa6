"""`tasks check` on every broker: healthy, and with each fault."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any

import botocore  # type: ignore[import-untyped]
import pytest
import redis as redis_client
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner
from kombu import Exchange, Queue, pools
from sqlalchemy import NullPool, create_engine, make_url, text

from cadasta.workertoolbox.conf import setup_app
from cadasta.workertoolbox.results import upgrade
from servers.ports import HOST, free_ports
from servers.redis import Redis
from support import sqs_requests
from support.brokers import Broker, result_backend_url
from support.echo_service import make_app
from support.polling import wait_until
from support.processes import IGNORED_PREFIXES, SERVICE_FOLDER
from support.task_commands import run_monitor

DATABASE = Path(__file__).parents[2] / "docs" / "database.md"

#: The checks that look at each queue.
QUEUES = ["queue celery", "queue export", "queue msg", "queue platform.fifo"]

#: Options with which SQS is spoken to without TLS.
PLAIN_HTTP = '{"is_secure": false}'

ACTIONS = {
    "sqs:CreateQueue",
    "sqs:GetQueueAttributes",
    "sqs:SendMessage",
    "sqs:ReceiveMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
}


@dataclass(frozen=True)
class Checked:
    """What a check-up said.

    Attributes:
        output: Of standard output and error.
    """

    exit_code: int
    output: str

    @property
    def findings(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.output.splitlines()]

    def of(self, status: str) -> dict[str, str]:
        """Return the details of one status, by check."""
        return {
            each["check"]: each["detail"]
            for each in self.findings
            if each["status"] == status
        }

    def advice(self, check: str) -> str:
        [advice] = [one["advice"] for one in self.findings if one["check"] == check]
        return advice


def check(app: Celery, *options: str) -> Checked:
    """Run the command in this process."""
    words: list[Any] = ["-A", app, "tasks", "check", "--json", *options]
    result = CliRunner().invoke(celery, words)
    return Checked(result.exit_code, result.output)


def check_process(environment: dict[str, str], *options: str) -> Checked:
    """Run the command as a process of the service `fleet`."""
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(IGNORED_PREFIXES)
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "echo_service",
            "--workdir",
            str(SERVICE_FOLDER),
        ]
        + ["tasks", "check", *options],
        env={**inherited, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    return Checked(done.returncode, done.stdout)


@contextmanager
def configured(monkeypatch: pytest.MonkeyPatch, **settings: object) -> Iterator[Celery]:
    """Yield the service on a broker and a database of settings."""
    for name, value in settings.items():
        monkeypatch.setenv(f"WORKERTOOLBOX_{name.upper()}", str(value))
    app = make_app()
    yield app
    pools.reset()
    app.close()


@pytest.fixture
def declared(app: Celery) -> Celery:
    """The service on each broker, with its queues."""
    setup_app(app)
    return app


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The service in a folder, where nothing is declared."""
    with configured(monkeypatch, folder=tmp_path / "box") as app:
        upgrade(app.conf.result_backend)
        yield app


@pytest.fixture
def declared_on(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Celery]]:
    """What gives the service on one broker, with its queues and a SQLite database."""
    with ExitStack() as stack:

        def make(name: str) -> Celery:
            settings: dict[str, object] = {"folder": tmp_path / "box"}
            if name != "filesystem":
                access = stack.enter_context(request.getfixturevalue(name).access())
                settings = {
                    "broker_url": access.url,
                    "broker_transport_options": json.dumps(access.transport_options),
                    "result_backend": result_backend_url(
                        f"sqlite:///{tmp_path}/sqlite"
                    ),
                }
            app = stack.enter_context(configured(monkeypatch, **settings))
            upgrade(app.conf.result_backend)
            setup_app(app)
            return app

        yield make


def on(app: Celery, database: str) -> Celery:
    """Return an app with its results in that database."""
    return changed(app, result_backend=result_backend_url(database))


def changed(app: Celery, **settings: object) -> Celery:
    """Return an app with changes, as if they had been made in its module."""
    app.conf.update(settings)
    return app


def execute(database: str, *statements: str) -> None:
    engine = create_engine(database, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


@contextmanager
def granted(database: str, *grants: str) -> Iterator[str]:
    """Yield a database's URL for a role of its own with nothing but these rights."""
    role = f"role_{uuid.uuid4().hex}"
    execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'geheim'")
    try:
        execute(database, *(grant.format(role=role) for grant in grants))
        url = make_url(database).set(username=role, password="geheim")
        yield url.render_as_string(hide_password=False)
    finally:
        execute(database, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def documented(role: str) -> Sequence[str]:
    """Return the statements by which the documents set a role up."""
    blocks = re.findall("```sql\n(.*?)```", DATABASE.read_text("utf-8"), re.DOTALL)
    # Figures for Prometheus need one more, which comes last of the monitor's.
    [first, *_] = [block for block in blocks if f"TO {role};" in block]
    statements = [each.strip() for each in first.split(";") if each.strip()]
    return [re.sub(rf"TO {role}$", "TO {role}", each) for each in statements]


def waiting(app: Celery, queue: str) -> list[str]:
    """Take every message out of a queue; return the tasks, none of them delivered."""
    ids = []
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        while (message := channel.basic_get(queue)) is not None:
            assert not message.delivery_info.get("redelivered")
            channel.basic_ack(message.delivery_tag)
            ids.append(message.headers["id"])
    return ids


def test_a_healthy_fleet_is_well_and_its_tasks_are_left_alone(
    app: Celery, broker: Broker, tmp_path: Path
) -> None:
    id = app.send_task("export.echo", [1]).id
    with run_monitor(broker.environment, tmp_path) as process:
        process.wait_for("copying tasks")
        checked = check_process(broker.environment, "--json")
        again = check_process(broker.environment)
        wait_until(lambda: "newest task" in check(app).of("ok").get("monitor", ""))
        tasks = waiting(app, "export")
        output = process.text

    assert checked.exit_code == 0, checked.output
    assert again.exit_code == 0, again.output
    # The role of the tests' PostgreSQL may do anything.
    others = [one for one in checked.findings if one["status"] != "ok"]
    assert {one["check"] for one in others} <= {"privileges"}
    assert {"broker", "probe", "database", "schema", "monitor"} < set(checked.of("ok"))
    assert set(QUEUES) < set(checked.of("ok"))
    assert broker.name != "sqs" or ACTIONS < set(checked.of("ok"))
    assert all(list(one) == ["check", "status", "detail", "advice"] for one in others)
    assert re.search(r"^ok +broker +\S+ answers", again.output, re.MULTILINE)
    assert re.search(r"^\d+ ok, \d warning, 0 failed, 0 skipped$", again.output, re.M)
    assert tasks == [id]
    assert "put into quarantine" not in output
    assert checked.of("ok")["quarantine"] == "0 messages in quarantine"


def test_without_a_monitor_it_fails_and_says_how_many_copies_wait(
    declared: Celery,
) -> None:
    ids = [declared.send_task("export.echo", [n]).id for n in range(3)]
    checked = check(declared)

    assert checked.exit_code == 1
    assert list(checked.of("failed")) == ["monitor"]
    assert int(re.findall(r"(\d+) waiting", checked.of("failed")["monitor"])[0]) >= 4
    assert "tasks monitor" in checked.advice("monitor")
    assert sorted(waiting(declared, "export")) == sorted(ids)


def test_before_anything_is_declared_there_is_a_warning_and_nothing_is_made(
    app: Celery,
) -> None:
    first, second = check(app), check(app)

    for checked in (first, second):
        assert checked.exit_code == 0, checked.output
        assert checked.of("warning")["exchange"] == "nothing is declared yet"
        assert list(checked.of("skipped")) == ["probe", "monitor"]


@pytest.mark.parametrize("scheme", ["amqp", "redis", "sqs"])
def test_a_broker_that_is_down_is_one_line(scheme: str, tmp_path: Path) -> None:
    [port] = free_ports(1)
    url = f"{scheme}://me:geheim@{HOST}:{port}/"
    options = PLAIN_HTTP if scheme == "sqs" else "{}"
    environment = {
        "WORKERTOOLBOX_BROKER_URL": url,
        "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS": options,
        "WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(
            f"sqlite:///{tmp_path}/none"
        ),
    }
    began_at = time.monotonic()
    checked = check_process(environment, "--json")
    lasted_s = time.monotonic() - began_at

    assert checked.exit_code == 1
    assert list(checked.of("failed")) == ["broker", "database"]
    assert f"{scheme}://me:********@{HOST}:{port}/" in checked.of("failed")["broker"]
    assert checked.of("skipped")["probe"] == "not without 'broker'"
    assert "geheim" not in checked.output
    assert lasted_s < 30
    assert not tmp_path.joinpath("none").exists()


@pytest.mark.parametrize("scheme", ["amqp", "redis", "sqs"])
def test_a_broker_that_hangs_is_given_up(
    embedded: Celery, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with socket.create_server((HOST, 0)) as silent:
        url = f"{scheme}://me:geheim@{HOST}:{silent.getsockname()[1]}/"
        options = PLAIN_HTTP if scheme == "sqs" else "{}"
        settings = {"broker_url": url, "broker_transport_options": options}
        with configured(monkeypatch, **settings) as app:
            changed(app, result_backend=embedded.conf.result_backend)
            checked = check(app, "--timeout", "0.5")

    assert checked.exit_code == 1
    assert list(checked.of("failed")) == ["broker"]
    assert "within 0.5 s" in checked.of("failed")["broker"]
    assert "database" in checked.of("ok")
    assert "geheim" not in checked.output


def test_a_password_that_rabbitmq_refuses(
    declared_on: Callable[[str], Celery],
) -> None:
    app = declared_on("rabbitmq")
    url = app.conf.broker_url.replace(":guest@", ":geheim@")
    checked = check(changed(app, broker_url=url))

    assert list(checked.of("failed")) == ["broker"]
    assert "ACCESS_REFUSED" in checked.of("failed")["broker"]
    assert "geheim" not in checked.output


def test_a_password_that_redis_refuses(
    redis: Redis, embedded: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = redis.url.replace("://", "://me:geheim@")
    with configured(monkeypatch, broker_url=url) as app:
        changed(app, result_backend=embedded.conf.result_backend)
        checked = check(app)

    assert list(checked.of("failed")) == ["broker"]
    assert "password" in checked.of("failed")["broker"]
    assert "geheim" not in checked.output


def unbound_in_redis(app: Celery, queue: str, key: str) -> None:
    prefix = app.conf.broker_transport_options["global_keyprefix"]
    with redis_client.Redis.from_url(app.conf.broker_url) as client:
        for member in client.smembers(f"{prefix}_kombu.binding.task_exchange"):
            if member.endswith(queue.encode()):
                client.srem(f"{prefix}_kombu.binding.task_exchange", member)


def unbound_in_a_folder(app: Celery, queue: str, key: str) -> None:
    folder = Path(app.conf.broker_transport_options["control_folder"])
    file = folder / "task_exchange.exchange"
    left = [one for one in json.loads(file.read_text("utf-8")) if one[2] != queue]
    file.write_text(json.dumps(left), "utf-8")


def deleted_on_sqs(app: Celery, queue: str, key: str) -> None:
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.sqs().delete_queue(QueueUrl=channel._resolve_queue_url(queue))


def deleted_on_rabbitmq(app: Celery, queue: str, key: str) -> None:
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(queue)


@pytest.mark.parametrize(("queue", "key"), [("msg", "msg"), ("platform.fifo", "#")])
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("rabbitmq", deleted_on_rabbitmq),
        ("redis", unbound_in_redis),
        ("sqs", deleted_on_sqs),
        ("filesystem", unbound_in_a_folder),
    ],
)
def test_a_queue_that_is_gone_or_not_bound(
    declared_on: Callable[[str], Celery],
    name: str,
    fault: Callable[[Celery, str, str], None],
    queue: str,
    key: str,
) -> None:
    app = declared_on(name)
    fault(app, queue, key)
    checked = check(app)

    assert checked.exit_code == 1
    assert list(checked.of("failed")) == [f"queue {queue}"]
    assert "setup_app" in checked.advice(f"queue {queue}")
    assert {"probe", "monitor"} <= set(checked.of("skipped"))


def test_a_monitor_queue_that_rabbitmq_has_not_bound(
    declared_on: Callable[[str], Celery],
) -> None:
    app = declared_on("rabbitmq")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_unbind("platform.fifo", "task_exchange", "#")
    checked = check(app)

    assert list(checked.of("failed")) == ["probe"]
    assert "the monitor gets no copies" in checked.of("failed")["probe"]


def test_a_work_queue_that_rabbitmq_has_not_bound_is_bound_again(
    declared_on: Callable[[str], Celery],
) -> None:
    app = declared_on("rabbitmq")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_unbind("export", "task_exchange", "export")
    checked = check(app)
    with app.connection_for_write() as connection:
        # Past the toolbox, which would bind it itself.
        channel = connection.default_channel
        message = channel.prepare_message(b"", headers={"id": "1"})
        channel.basic_publish(message, "task_exchange", "export")

    assert "bound by 'export' (again" in checked.of("ok")["queue export"]
    assert waiting(app, "export") == ["1"]


def test_an_exchange_of_another_type(declared_on: Callable[[str], Celery]) -> None:
    app = declared_on("rabbitmq")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.exchange_delete("task_exchange")
        Exchange("task_exchange", "fanout", channel=channel).declare()
    checked = check(app)

    assert list(checked.of("failed")) == ["exchange"]
    assert "inequivalent arg 'type'" in checked.of("failed")["exchange"]


def test_a_queue_of_another_type(declared_on: Callable[[str], Celery]) -> None:
    app = declared_on("rabbitmq")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_delete("msg")
        arguments = {"x-queue-type": "quorum"}
        Queue("msg", channel=channel, queue_arguments=arguments).queue_declare()
    checked = check(app)

    assert list(checked.of("failed")) == ["queue msg"]
    assert "inequivalent arg 'x-queue-type'" in checked.of("failed")["queue msg"]


def denied(
    action: str,
) -> Callable[[sqs_requests.Request], sqs_requests.ErrorResponse | None]:
    """Return what answers as AWS does to who may not do one thing."""
    names = {action.partition(":")[2], f"{action.partition(':')[2]}Batch"}

    def answer(request: sqs_requests.Request) -> sqs_requests.ErrorResponse | None:
        return (403, "AccessDeniedException") if request.operation in names else None

    return answer


@pytest.mark.parametrize("action", sorted(ACTIONS - {"sqs:CreateQueue"}))
def test_an_action_that_aws_denies_is_named(
    declared_on: Callable[[str], Celery], action: str
) -> None:
    app = declared_on("sqs")
    with sqs_requests.recorded(denied(action)):
        checked = check(app, "--timeout", "5")

    assert checked.exit_code == 1
    assert action in checked.of("failed")
    assert set(checked.of("failed")) & ACTIONS == {action}
    assert f"allow {action}" in checked.advice(action)
    assert ACTIONS - {action} < set(checked.of("ok"))


def test_no_action_is_tried_with_a_message(
    declared_on: Callable[[str], Celery],
) -> None:
    app = declared_on("sqs")
    id = app.send_task("export.echo", [1]).id
    with sqs_requests.recorded() as requests:
        check(app)

    assert waiting(app, "export") == [id]
    puts = [one.queue for one in requests if one.operation == "SendMessage"]
    assert [queue.rpartition("-")[2] for queue in puts] == ["platform.fifo"]


@pytest.mark.parametrize("missing", [False, True])
def test_queues_need_only_be_made_where_one_is_missing(
    declared_on: Callable[[str], Celery], missing: bool
) -> None:
    app = declared_on("sqs")
    if missing:
        deleted_on_sqs(app, "msg", "msg")
    with sqs_requests.recorded(denied("sqs:CreateQueue")):
        checked = check(app)

    status = "failed" if missing else "ok"
    assert "denied" in checked.of(status)["sqs:CreateQueue"]


def test_a_list_of_queues_that_aws_denies_is_named(
    declared_on: Callable[[str], Celery],
) -> None:
    app = declared_on("sqs")
    pools.reset()
    with sqs_requests.recorded(denied("sqs:ListQueues")):
        checked = check(app)

    assert list(checked.of("failed")) == ["sqs:ListQueues"]
    assert "predefined_queues" in checked.advice("sqs:ListQueues")
    assert checked.of("ok")["broker"].endswith("answers")


def test_a_visibility_timeout_that_is_shorter_than_the_configured(
    declared_on: Callable[[str], Celery],
) -> None:
    app = declared_on("sqs")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.sqs().set_queue_attributes(
            QueueUrl=channel._resolve_queue_url("export"),
            Attributes={"VisibilityTimeout": "30"},
        )
    checked = check(app)
    found = [one for one in checked.findings if one["status"] == "warning"]

    assert [one["check"] for one in found] == ["queue export"]
    assert "after 30 s" in found[0]["detail"]


def test_a_database_that_is_down_is_one_line(embedded: Celery) -> None:
    [port] = free_ports(1)
    url = f"postgresql+psycopg2://me:geheim@{HOST}:{port}/workers"
    checked = check(on(embedded, url))

    assert checked.exit_code == 1
    assert list(checked.of("failed")) == ["database"]
    assert f"me:***@{HOST}:{port}" in checked.of("failed")["database"]
    assert checked.of("skipped")["quarantine"] == "not without 'database'"
    assert "broker" in checked.of("ok")
    assert "geheim" not in checked.output


def test_a_database_that_hangs_is_given_up(embedded: Celery) -> None:
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql+psycopg2://me:geheim@{HOST}:{port}/workers"
        checked = check(on(embedded, url), "--timeout", "0.5")

    assert list(checked.of("failed")) == ["database"]
    assert "within 0.5 s" in checked.of("failed")["database"]


def test_a_role_that_does_not_exist(embedded: Celery, database: str) -> None:
    url = make_url(database).set(username="nobody", password="geheim")
    shown = url.render_as_string(hide_password=False)
    checked = check(on(embedded, shown))

    assert list(checked.of("failed")) == ["database"]
    assert '"nobody" does not exist' in checked.of("failed")["database"]
    assert "geheim" not in checked.output


def test_tables_that_are_too_old(embedded: Celery, database: str) -> None:
    execute(database, "UPDATE workertoolbox_version SET version_num = '0001'")
    checked = check(on(embedded, database))

    assert list(checked.of("failed")) == ["schema"]
    assert "only 0001" in checked.of("failed")["schema"]
    assert "tasks upgrade" in checked.advice("schema")


def test_tables_that_are_not_there(embedded: Celery, database: str) -> None:
    execute(database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    checked = check(on(embedded, database))

    assert set(checked.of("failed")) - {"monitor"} == {"schema", "privileges"}
    assert "tasks upgrade" in checked.advice("privileges")
    for unseen in ("untracked", "quarantine"):
        assert checked.of("skipped")[unseen] == "the tables are not there"


@pytest.mark.parametrize("role", ["worker", "monitor", "reader", "purger"])
def test_the_documented_grants_are_enough_and_not_more(
    embedded: Celery, database: str, role: str
) -> None:
    with granted(database, *documented(role)) as url:
        checked = check(on(embedded, url), "--role", role)

    assert checked.exit_code == 0, checked.output
    assert f"may do what a {role} has to, no more" in checked.of("ok")["privileges"]


@pytest.mark.parametrize(
    ("role", "lacking"),
    [
        ("worker", "DELETE ON celery_taskmeta"),
        ("worker", "USAGE ON SEQUENCE task_id_sequence"),
        ("monitor", "INSERT ON workertoolbox_quarantine"),
        ("reader", "SELECT ON workertoolbox_tasks"),
    ],
)
def test_a_privilege_that_a_role_lacks(
    embedded: Celery, database: str, role: str, lacking: str
) -> None:
    revoke = f"REVOKE {lacking} FROM {{role}}"
    with granted(database, *documented(role), revoke) as url:
        checked = check(on(embedded, url), "--role", role)

    shown = lacking.replace("ON", "on").replace("SEQUENCE ", "")
    assert list(checked.of("failed")) == ["privileges"]
    assert f"lacks {shown}, which a {role} needs" in checked.of("failed")["privileges"]


@pytest.mark.parametrize(
    ("grant", "shown"),
    [
        ("GRANT TRUNCATE ON workertoolbox_task TO {role}", "TRUNCATE on workertoolbox"),
        ("GRANT CREATE ON SCHEMA public TO {role}", "may CREATE in the schema"),
        ("ALTER TABLE celery_taskmeta OWNER TO {role}", "owns celery_taskmeta"),
        ("ALTER ROLE {role} CREATEROLE", "has the attributes createrole"),
        ("ALTER ROLE {role} SUPERUSER", "is a superuser"),
    ],
)
def test_a_role_that_may_do_more_than_it_needs_is_a_warning(
    embedded: Celery, database: str, grant: str, shown: str
) -> None:
    with granted(database, *documented("worker"), grant) as url:
        checked = check(on(embedded, url))
        execute(database, "ALTER TABLE celery_taskmeta OWNER TO CURRENT_USER")

    assert checked.exit_code == 0
    assert shown in checked.of("warning")["privileges"]


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ("ALTER ROLE {role} CONNECTION LIMIT 7", "failed"),
        ("ALTER ROLE {role} CONNECTION LIMIT 9", "warning"),
        ("ALTER ROLE {role} CONNECTION LIMIT 11", "ok"),
        ("ALTER ROLE {role} CONNECTION LIMIT -1", "ok"),
    ],
)
def test_processes_are_compared_with_the_limit_of_connections(
    embedded: Celery, database: str, limit: str, status: str
) -> None:
    with granted(database, *documented("worker"), limit) as url:
        checked = check(on(embedded, url), "--processes", "8")

    assert checked.of(status)["connections"].startswith("8 processes need one each")


def test_who_is_connected_counts_where_no_number_is_given(
    embedded: Celery, database: str
) -> None:
    limit = "ALTER ROLE {role} CONNECTION LIMIT 3"
    with granted(database, *documented("worker"), limit) as url:
        engine = create_engine(url)
        with engine.connect(), engine.connect():
            checked = check(on(embedded, url))
        engine.dispose()

    assert "3 are connected" in checked.of("warning")["connections"]
    assert "the role has room for 3" in checked.of("warning")["connections"]


@pytest.mark.parametrize(
    ("skew_s", "status"), [(1, "ok"), (-5, "warning"), (90, "failed")]
)
def test_a_clock_of_the_database_that_is_wrong(
    embedded: Celery, database: str, skew_s: int, status: str
) -> None:
    name = make_url(database).database
    execute(
        database,
        "CREATE SCHEMA skewed",
        "CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        f" 'SELECT pg_catalog.clock_timestamp() + interval ''{skew_s} s'''",
        f"ALTER DATABASE {name} SET search_path = skewed, pg_catalog, public",
    )
    checked = check(on(embedded, database))
    side = "ahead of" if skew_s > 0 else "behind"

    assert f"{abs(skew_s)}.0 s {side}" in checked.of(status)["clock of the database"]


def test_a_clock_of_redis_that_is_wrong(
    declared_on: Callable[[str], Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = declared_on("redis")
    now = redis_client.Redis.time
    monkeypatch.setattr(
        redis_client.Redis, "time", lambda self: (now(self)[0] + 30, now(self)[1])
    )
    checked = check(app)

    assert "30.0 s ahead" in checked.of("warning")["clock of the broker"]


def test_a_clock_of_aws_that_is_wrong(declared_on: Callable[[str], Celery]) -> None:
    def delay(parsed: dict[str, Any], **_: object) -> None:
        headers = parsed["ResponseMetadata"]["HTTPHeaders"]
        date = parsedate_to_datetime(headers["date"]) - timedelta(minutes=3)
        headers["date"] = format_datetime(date)

    def install(session: Any) -> None:
        session.register("after-call.sqs", delay)

    app = declared_on("sqs")
    botocore.register_initializer(install)
    try:
        checked = check(app)
    finally:
        botocore.unregister_initializer(install)

    clock = checked.of("failed")["clock of the broker"]
    assert 179 <= float(clock.partition(" ")[0]) <= 181
    assert "behind" in clock


def test_quarantined_messages_and_untracked_results_are_warnings(
    embedded: Celery, database: str
) -> None:
    execute(
        database,
        "INSERT INTO workertoolbox_quarantine"
        " (digest, reason, body, headers, seen_at) VALUES ('1', 'no', '', '{}', now())",
        "INSERT INTO celery_taskmeta (task_id, status, date_done)"
        " VALUES ('1', 'SUCCESS', (now() AT TIME ZONE 'UTC') - interval '5 min')",
    )
    checked = check(on(embedded, database))

    assert checked.exit_code == 0
    assert checked.of("warning")["quarantine"] == "1 messages in quarantine"
    assert checked.of("warning")["untracked"].startswith("1 results of the last hour")


def test_a_monitor_that_is_behind_is_a_warning(
    declared_on: Callable[[str], Celery], database: str, tmp_path: Path
) -> None:
    app = on(declared_on("filesystem"), database)
    environment = {"WORKERTOOLBOX_FOLDER": str(tmp_path / "box")}
    execute(
        database,
        "INSERT INTO workertoolbox_task (id, name, queue, replaced, retries,"
        " scheduled_at, ignore_result, seen_at) VALUES ('1', 'export.echo', 'export',"
        " 0, 0, now() - interval '10 min', false, now())",
    )
    with run_monitor(environment, tmp_path) as process:
        process.wait_for("copying tasks")
        checked = check(app)

    assert "stored 600.0 s later" in checked.of("warning")["monitor"]


def test_an_app_without_the_toolbox_is_one_line() -> None:
    app = Celery("plain", broker="memory://", set_as_current=False)
    checked = check(app)

    assert checked.exit_code == 1
    assert checked.output.startswith("Error: app 'plain' is not configured")
