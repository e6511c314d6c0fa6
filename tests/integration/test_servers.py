"""The servers, processes and polling of the test suite work as other tests expect."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from queue import Empty

import pytest
from kombu import Connection
from sqlalchemy import NullPool, create_engine, inspect, text

from servers.availability import skip_or_fail
from support.brokers import Broker
from support.polling import wait_until
from support.processes import running

SERVER_BROKERS = ["rabbitmq", "redis", "sqs"]

#: Starts a process that runs for an hour, and prints its id.
PARENT = """\
import pathlib, sys
sys.path.append(sys.argv[1])
from support.processes import running
with running(["sleep", "3600"], folder=pathlib.Path(sys.argv[2])) as child:
    print("child", child.pid, "started")
    child.wait(timeout_s=3600)
"""


def connect(broker: Broker) -> Connection:
    """Connect with kombu, without the toolbox."""
    return Connection(
        broker.environment["WORKERTOOLBOX_BROKER_URL"],
        transport_options=json.loads(
            broker.environment["WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS"]
        ),
    )


def has_ended(pid: int) -> bool:
    """Return whether a process that is not a child of this one has ended."""
    try:
        # Empty for a zombie, which may never be reaped.
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b""
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("name", ["export", "platform.fifo"])
@pytest.mark.parametrize("broker", SERVER_BROKERS, indirect=True)
def test_a_published_message_is_received_once(broker: Broker, name: str) -> None:
    with connect(broker) as connection, connection.SimpleQueue(name) as queue:
        queue.put({"number": 1})
        message = queue.get(timeout=10)
        message.ack()

        assert message.payload == {"number": 1}
        with pytest.raises(Empty):
            queue.get(timeout=1)


@pytest.mark.parametrize("turn", ["first", "second"])
@pytest.mark.parametrize("broker", SERVER_BROKERS, indirect=True)
def test_a_test_does_not_see_the_messages_of_another(broker: Broker, turn: str) -> None:
    with connect(broker) as connection, connection.SimpleQueue("export") as queue:
        with pytest.raises(Empty):
            queue.get(timeout=1)

        queue.put({"turn": turn})


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_gets_an_empty_database_with_the_schema(
    result_backend: str, turn: str
) -> None:
    engine = create_engine(
        result_backend.removeprefix("workertoolbox+"), poolclass=NullPool
    )
    assert "workertoolbox_task" in inspect(engine).get_table_names()
    count = text("SELECT count(*) FROM workertoolbox_quarantine")
    with engine.connect() as connection:
        assert connection.scalar(count) == 0


def test_a_process_gets_its_environment_and_its_output_is_kept(tmp_path: Path) -> None:
    program = "import os; print('queues', os.environ['QUEUES'])"
    with running(
        [sys.executable, "-c", program], folder=tmp_path, environment={"QUEUES": "msg"}
    ) as process:
        process.wait_for("queues msg")

        assert process.wait() == 0


def test_waiting_for_a_process_that_has_ended_fails_at_once(tmp_path: Path) -> None:
    with running([sys.executable, "-c", ""], folder=tmp_path) as process:
        with pytest.raises(ChildProcessError, match="before it wrote 'ready'"):
            process.wait_for("ready", timeout_s=3600)


@pytest.mark.skipif(
    sys.platform != "linux", reason="needs a signal that only Linux sends"
)
def test_processes_end_with_a_killed_test_run(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", PARENT, tests, str(tmp_path)]
    with running(command, folder=tmp_path) as parent:
        child = int(parent.wait_for("started").split()[1])
        os.kill(parent.pid, signal.SIGKILL)

        assert wait_until(lambda: has_ended(child))


def test_a_missing_server_skips_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="SQS is not available: no moto"):
        skip_or_fail("SQS", "no moto")


def test_a_missing_server_fails_its_tests_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="SQS is not available: no moto"):
        skip_or_fail("SQS", "no moto")


def test_a_condition_that_is_never_met_shows_its_last_failure() -> None:
    numbers = iter(range(1000))

    def check() -> bool:
        number = next(numbers)
        assert number < 0, f"the number is {number}"
        return True

    with pytest.raises(AssertionError, match=r"after 0.1 s still the number is [1-9]"):
        wait_until(check, timeout_s=0.1)
