"""`tasks web` as a process: its address, its signals, its login, and reruns."""

from __future__ import annotations

import html
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from cadasta.workertoolbox.results import TaskStore, upgrade
from support.brokers import Broker, folder_broker, result_backend_url
from support.failed_tasks import store_failed
from support.polling import wait_until
from support.processes import Process, running
from support.task_commands import run_tasks_command

PASSWORD = "correct horse battery"

#: Runs a module as if a package were not installed.
WITHOUT = """\
import runpy, sys
missing, module, *sys.argv[1:] = sys.argv[1:]
sys.modules[missing] = None
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""

PAGES = "cadasta.workertoolbox.results.web"


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """A folder with messages and results; all brokers are alike for the pages."""
    return folder_broker(tmp_path / ".workertoolbox")


@pytest.fixture
def url(broker: Broker, sqlite_template: Path) -> str:
    """The result backend of the service, with the schema."""
    folder = Path(broker.environment["WORKERTOOLBOX_FOLDER"])
    folder.mkdir()
    (folder / "results.sqlite3").write_bytes(sqlite_template.read_bytes())
    return result_backend_url(f"sqlite:///{folder / 'results.sqlite3'}")


@contextmanager
def serving(
    broker: Broker, folder: Path, *options: str, **variables: str
) -> Iterator[tuple[Process, httpx2.Client]]:
    """Run `tasks web` on a free port; yield the process and a client."""
    environment = {**broker.environment, **variables}
    given = options if "--bind" in options else ("--bind", "127.0.0.1:0", *options)
    with run_tasks_command(environment, folder, "web", *given) as process:
        output = process.wait_for("http://")
        address = re.findall(r"(http://\S+?)/?\s", output)[0]
        origin = {"origin": "/".join(address.split("/")[:3])}
        with httpx2.Client(base_url=address, headers=origin, timeout=60) as client:
            yield process, client


def fields_of(page: str, action: str) -> Mapping[str, str]:
    """Return the fields of the form of a page that is sent to a path."""
    form = re.findall(rf'<form[^>]* action="{re.escape(action)}".*?</form>', page, re.S)
    found = re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', form[0])
    return {name: html.unescape(value) for name, value in found}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order(
    broker: Broker, url: str, tmp_path: Path, number: signal.Signals
) -> None:
    with serving(broker, tmp_path) as (process, client):
        page = client.get("/tasks")
        # The connection of the client is kept open.
        exit_code = process.stop(number)

    assert page.status_code == 200
    assert exit_code == 0
    assert process.text == f"{client.base_url}/\n"


def test_the_server_listens_on_an_address_of_ipv6_with_a_prefix(
    broker: Broker, url: str, tmp_path: Path
) -> None:
    options = ("--bind", "[::1]:0", "--prefix", "/ops/", "--host", "tasks.example")
    with serving(broker, tmp_path, *options) as (_, client):
        page = client.get("/tasks")
        named = client.get("/tasks", headers={"host": "tasks.example"})
        other = client.get("/tasks", headers={"host": "evil.example"})

    assert str(client.base_url).startswith("http://[::1]:")
    assert page.status_code == named.status_code == 200
    assert 'href="/ops/errors"' in page.text
    assert other.status_code == 421


def test_a_second_server_on_a_port_ends_with_one_line(
    broker: Broker, url: str, tmp_path: Path
) -> None:
    with serving(broker, tmp_path) as (_, client):
        bind = f"127.0.0.1:{client.base_url.port}"
        command = [sys.executable, "-m", PAGES, url, "--bind", bind]
        with running(command, folder=tmp_path, name="second") as second:
            exit_code = second.wait()

    assert exit_code == 1
    assert second.text == (
        f"Error: cannot listen on {bind}: Address already in use; choose another "
        "address with --bind\n"
    )


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_the_module_says_which_package_is_missing(missing: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, missing, PAGES, "sqlite:///x.sqlite"]
    with running(command, folder=tmp_path, name="web") as process:
        exit_code = process.wait()

    assert exit_code == 1
    assert process.text == (
        f"Error: the web pages need the package {missing}, which is not installed; run "
        'pip install "workertoolbox-results[web]"\n'
    )


def test_the_command_shows_its_options_without_the_extra(
    broker: Broker, tmp_path: Path
) -> None:
    program = ("-c", WITHOUT, "starlette", "celery")
    for option, text in (("--help", "--trusted-proxy"), ("--operator", "pip install")):
        with run_tasks_command(
            broker.environment, tmp_path, "web", option, program=program
        ) as process:
            exit_code = process.wait()

        assert exit_code == int(option != "--help")
        assert text in process.text
        assert "Traceback" not in process.text


def test_a_password_opens_an_address_that_others_can_reach(
    broker: Broker, url: str, tmp_path: Path
) -> None:
    # `Config` of the service reads the other variables with this prefix.
    variables = {"WORKERTOOLBOX_WEB_PASSWORD": PASSWORD}
    bind = ("--bind", "0.0.0.0:0")
    with serving(broker, tmp_path, *bind, **variables) as (process, client):
        port = client.base_url.port
        own = {"origin": f"http://127.0.0.1:{port}"}
        with httpx2.Client(base_url=own["origin"], headers=own) as user:
            asked = user.get("/tasks")
            # Nobody says that it comes through a proxy, so this is not believed.
            forged = {"x-forwarded-for": "10.0.0.1", "x-forwarded-proto": "https"}
            form = {"password": PASSWORD, "next": "/tasks"}
            done = user.post("/login", data=form, headers=forged)
            page = user.get("/tasks")
            token = {"authorization": f"Bearer {PASSWORD}"}
            by_token = httpx2.get(f"{own['origin']}/api/v1/openapi.json", headers=token)

    assert asked.headers["location"] == "/login?next=%2Ftasks"
    assert done.status_code == 303
    assert "Secure" not in done.headers["set-cookie"]
    assert page.status_code == by_token.status_code == 200
    assert PASSWORD not in process.text


def test_a_trusted_proxy_says_who_the_user_is_and_how_the_page_is_reached(
    broker: Broker, url: str, tmp_path: Path
) -> None:
    options = (
        *("--bind", "0.0.0.0:0", "--operator", "--allow", "errors"),
        *("--proxy-user-header", "X-Forwarded-User", "--trusted-proxy", "127.0.0.0/8"),
    )
    with serving(broker, tmp_path, *options) as (_, client):
        address = f"http://127.0.0.1:{client.base_url.port}"
        said = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
        user = {**said, "x-forwarded-user": "ann"}
        page = httpx2.get(f"{address}/tasks", headers=user)
        unnamed = httpx2.get(f"{address}/tasks", headers=said)

    assert '<span class="user">ann</span>' in page.text
    assert "Secure" in page.headers["set-cookie"]
    assert unnamed.status_code == 403


def test_a_server_that_ends_stops_a_rerun_after_the_current_task(
    broker: Broker, url: str, tmp_path: Path
) -> None:
    with TaskStore(url) as store:
        store_failed(store, [f"{n:03}" for n in range(60)])
        with serving(broker, tmp_path, "--operator") as (process, client):
            page = client.get("/rerun?query=status:failure&since=1h")
            form = {**fields_of(page.text, "/rerun"), "count": "60", "reason": "r"}
            done = client.post("/rerun", data=form)
            [operation] = store.operations()
            wait_until(lambda: store.operation(operation.id).published > 2)
            exit_code = process.stop()
        left = store.operation(operation.id)
        again = ("rerun", "--resume", operation.id, "--yes", "--rate", "1000/s")
        with run_tasks_command(broker.environment, tmp_path, *again) as resumed:
            resumed.wait()
        last = store.operation(operation.id)

    assert done.headers["location"] == f"/operations/{operation.id}"
    assert exit_code == 0
    assert 2 < left.published < 60 and left.doubtful == 0
    assert left.made_by == "anonymous at 127.0.0.1"
    assert "60 tasks, by anonymous at 127.0.0.1" in process.text
    assert last.published == 60
    assert last.finished_at is not None


def test_the_server_can_start_before_the_database_is_upgraded(
    broker: Broker, tmp_path: Path
) -> None:
    folder = Path(broker.environment["WORKERTOOLBOX_FOLDER"])
    folder.mkdir()
    with serving(broker, tmp_path) as (_, client):
        before = client.get("/tasks")
        upgrade(result_backend_url(f"sqlite:///{folder / 'results.sqlite3'}"))
        after = client.get("/tasks")

    assert before.status_code == 503
    assert "tasks upgrade" in before.text
    assert after.status_code == 200
