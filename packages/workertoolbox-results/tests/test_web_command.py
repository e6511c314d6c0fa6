"""The options of `tasks web`: addresses, hosts, passwords and proxies."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner, Result
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import WebUnavailable
from cadasta.workertoolbox.results.web import __main__ as module
from cadasta.workertoolbox.results.web.serving import command
from cadasta.workertoolbox.results.web.serving.address import (
    listen,
    parse_address,
)
from cadasta.workertoolbox.results.web.serving.extra import installed_extra
from cadasta.workertoolbox.results.web.serving.hosts import LOCAL, AllowedHosts

PASSWORD = "correct horse battery"


@pytest.fixture
def in_use() -> Iterator[int]:
    """A port on which another process listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def run(app: Celery, *options: str, **variables: str) -> Result:
    """Call the command with options that it refuses."""
    return CliRunner(env=variables).invoke(
        celery,
        ["-A", app, "tasks", "web", *options],  # type: ignore[list-item]
    )


def last_line(result: Result) -> str:
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.exit_code in (1, 2)
    return result.output.strip().splitlines()[-1]


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0"])
def test_an_address_that_others_can_reach_needs_a_login(app: Celery, bind: str) -> None:
    line = last_line(run(app, "--bind", bind))

    assert line.startswith(f"Error: other machines can reach {bind}; add a login")


@pytest.mark.parametrize(
    "bind", ["8555", "127.0.0.1", "127.0.0.1:", "::1:8555", "a b:1", "127.0.0.1:99999"]
)
def test_a_malformed_address_is_refused(app: Celery, bind: str) -> None:
    assert "write HOST:PORT" in last_line(run(app, "--bind", bind))


def test_a_port_in_use_is_an_error_in_one_line(app: Celery, in_use: int) -> None:
    result = run(app, "--bind", f"127.0.0.1:{in_use}")
    other = CliRunner().invoke(
        module.main, ["sqlite://", "--bind", f"127.0.0.1:{in_use}"]
    )

    expected = (
        f"Error: cannot listen on 127.0.0.1:{in_use}: Address already in use; choose "
        "another address with --bind"
    )
    assert last_line(result) == last_line(other) == expected
    assert len(other.output.splitlines()) == 1


def test_an_unknown_host_is_an_error_in_one_line(app: Celery) -> None:
    line = last_line(run(app, "--bind", "nowhere.invalid:8555"))

    assert line.startswith("Error: cannot listen on nowhere.invalid:8555: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_loopback_addresses_need_no_login(host: str) -> None:
    with listen(parse_address(f"{host}:0"), everywhere=False) as opened:
        assert opened.getsockname()[1] > 0


def allowed(*hosts: str) -> TestClient:
    app = PlainTextResponse("shown")
    return TestClient(AllowedHosts(app, hosts={*LOCAL, *hosts}))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8555", "127.0.0.1:1", "[::1]", "[::1]:8555", "a.b"]
)
def test_requests_for_this_machine_are_answered(host: str) -> None:
    assert allowed("A.b").get("/", headers={"host": host}).text == "shown"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil:8555", "", "::1", "a:b"],
)
def test_requests_for_other_hosts_are_refused(host: str) -> None:
    response = allowed().get("/", headers={"host": host})

    assert response.status_code == 421
    assert "--host NAME" in response.text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--proxy-user-header", "X-User"], "needs --trusted-proxy"),
        (
            ["--proxy-user-header", "X-User", "--trusted-proxy", "proxy"],
            "'proxy' is not an address",
        ),
        (["--allow", "errors"], "--allow needs --operator"),
        (["--password-file", "missing"], "cannot be read: No such file"),
        (["--operator", "--allow", "errors,purge"], "the rights are errors, rerun"),
    ],
)
def test_options_that_cannot_work_are_refused(
    app: Celery, options: list[str], text: str
) -> None:
    assert text in last_line(run(app, *options))


def test_a_short_password_is_refused_and_not_shown(app: Celery, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("tiny-secret\n")
    by_file = run(app, "--password-file", str(file))
    by_variable = run(app, **{command.PASSWORD_VARIABLE: "tiny-secret"})

    for result in (by_file, by_variable):
        assert "has 11 characters; write at least 12" in last_line(result)
        assert "tiny-secret" not in result.output


def test_a_password_is_given_in_one_way(app: Celery, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    variables = {command.PASSWORD_VARIABLE: PASSWORD}
    twice = run(app, "--password-file", str(file), **variables)
    proxy = ("--proxy-user-header", "X-User", "--trusted-proxy", "10.0.0.1")
    both = run(app, *proxy, **variables)

    assert "give the password once" in last_line(twice)
    assert "either a password or --proxy-user-header" in last_line(both)
    assert PASSWORD not in twice.output + both.output


@pytest.mark.parametrize("proxy", ["proxy.internal", "10.0.0.999"])
def test_the_address_of_a_proxy_is_checked_with_a_password_too(
    app: Celery, proxy: str
) -> None:
    variables = {command.PASSWORD_VARIABLE: PASSWORD}
    # A free port, and an address that cannot be used: the command ends in any case.
    options = ("--trusted-proxy", proxy, "--bind", "192.0.2.1:0")
    line = last_line(run(app, *options, **variables))

    assert f"'{proxy}' is not an address or a network" in line


@pytest.mark.parametrize("name", ["file", "variable", "variable of a file"])
def test_a_password_is_read_without_the_end_of_its_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (command.PASSWORD_VARIABLE, command.PASSWORD_FILE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\r\n")
    if name == "variable":
        monkeypatch.setenv(command.PASSWORD_VARIABLE, PASSWORD)
    elif name == "variable of a file":
        monkeypatch.setenv(command.PASSWORD_FILE_VARIABLE, os.fspath(file))

    assert command._read_password(file if name == "file" else None) == PASSWORD


def test_only_a_missing_package_of_the_extra_is_explained() -> None:
    advice = r'pip install "workertoolbox-results\[web\]'
    with pytest.raises(WebUnavailable, match=advice), installed_extra():
        raise ModuleNotFoundError("no", name="jinja2.ext")
    with pytest.raises(ModuleNotFoundError, match="ours"), installed_extra():
        raise ModuleNotFoundError("ours", name="cadasta.gone")


def test_the_extra_is_missing_in_one_line(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.startswith(("cadasta.workertoolbox.results.web.a", "starlette")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    line = last_line(run(app))

    assert line == (
        "Error: the web pages need the package starlette, which is not installed; run "
        'pip install "workertoolbox-results[web]"'
    )
