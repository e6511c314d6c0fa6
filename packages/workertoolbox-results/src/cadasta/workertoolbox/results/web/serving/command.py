"""The options of `tasks web` and `python -m cadasta.workertoolbox.results.web`."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.serving.address import (
    Address,
    is_loopback,
    listen,
    parse_address,
)
from cadasta.workertoolbox.results.web.serving.extra import installed_extra

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from cadasta.workertoolbox.results.web.access.logins import Login
    from cadasta.workertoolbox.results.web.operating.operator import Operator

#: Seconds that the queries of one page may take together.
TIMEOUT_S = 10.0

#: The variable with the password, and the one that names a file with it.
PASSWORD_VARIABLE = "WORKERTOOLBOX_WEB_PASSWORD"
PASSWORD_FILE_VARIABLE = f"{PASSWORD_VARIABLE}_FILE"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The values of `serve_options`."""

    bind: str
    prefix: str
    host: Sequence[str]
    password_file: Path | None
    proxy_user_header: str | None
    trusted_proxy: Sequence[str]


def serve_options(function: Decorated) -> Decorated:
    """Add the options of a command that serves the pages."""
    options = (
        click.option(
            "--bind",
            default="127.0.0.1:8555",
            show_default=True,
            help="The address to listen on; one that other machines can reach needs a "
            "login.",
        ),
        click.option(
            "--prefix",
            default="",
            help="The path below which a proxy forwards requests, such as /tasks.",
        ),
        click.option(
            "--host",
            multiple=True,
            metavar="NAME",
            help="A further name under which browsers may reach the pages, such as "
            "tasks.example.com. Can be repeated.",
        ),
        click.option(
            "--password-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help=f"A file with the password of the pages. {PASSWORD_VARIABLE} in the "
            "environment is another way to give it.",
        ),
        click.option(
            "--proxy-user-header",
            metavar="HEADER",
            help="The header in which a trusted proxy names the user, such as "
            "X-Forwarded-User.",
        ),
        click.option(
            "--trusted-proxy",
            multiple=True,
            metavar="ADDRESS",
            help="An address or a network, such as 10.0.0.0/8, of a proxy that is "
            "believed what it says of clients and users. Can be repeated.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def serve_store(
    result_backend: str, given: ServeOptions, operator: Operator | None = None
) -> None:
    """Serve the pages about a database until the process is interrupted.

    Raises:
        InvalidAddress: The address is malformed or in use, or other machines could
            reach it without a login.
        InvalidLogin: An address of a proxy is malformed.
        InvalidPassword: The password is too short.
        InvalidURL: `result_backend` does not name a supported database.
        WebUnavailable: The extra `web` is not installed.
    """
    with installed_extra():
        from cadasta.workertoolbox.results.web.answers.overview import usual_questions
        from cadasta.workertoolbox.results.web.app import create_app
        from cadasta.workertoolbox.results.web.serving.server import serve
    logging.basicConfig(level="INFO", format="[%(asctime)s: %(levelname)s] %(message)s")
    address = parse_address(given.bind)
    login = _login(given)
    store = TaskStore.from_engine(open_engine(database_url(result_backend)))
    store.timeout_s = TIMEOUT_S
    with store, listen(address, everywhere=login is not None) as opened:
        app = create_app(store, prefix=given.prefix, login=login, operator=operator)
        app.state.site.refresher.keep(*usual_questions())
        shown = Address(address.host, opened.getsockname()[1])
        click.echo(f"http://{shown}/{given.prefix.strip('/')}")
        serve(_guard(app, given, opened, address.host), opened)


def _login(given: ServeOptions) -> Login | None:
    """Return the login that the options and the environment ask for.

    Raises:
        click.UsageError: They contradict each other.
        InvalidLogin: An address of a proxy is malformed.
    """
    from cadasta.workertoolbox.results.web.access.logins import (
        PasswordLogin,
        ProxyLogin,
        parse_network,
    )

    for each in given.trusted_proxy:
        parse_network(each)  # The server would ignore a name.
    password = _read_password(given.password_file)
    if given.proxy_user_header is not None:
        if password is not None:
            raise click.UsageError("give either a password or --proxy-user-header")
        if not given.trusted_proxy:
            raise click.UsageError(
                "--proxy-user-header needs --trusted-proxy ADDRESS: anyone else could "
                "send that header, too"
            )
        return ProxyLogin(given.proxy_user_header, given.trusted_proxy)
    return None if password is None else PasswordLogin(password)


def _read_password(file: Path | None) -> str | None:
    """Return the password of a file or of the environment.

    Raises:
        click.UsageError: It is given twice, or the file cannot be read.
    """
    text = os.environ.get(PASSWORD_VARIABLE)
    named = os.environ.get(PASSWORD_FILE_VARIABLE)
    if sum(each is not None for each in (file, text, named)) > 1:
        raise click.UsageError(
            f"give the password once: with --password-file, {PASSWORD_VARIABLE} or "
            f"{PASSWORD_FILE_VARIABLE}"
        )
    path = file or (Path(named) if named is not None else None)
    if path is None:
        return text
    try:
        # Without the line end that editors add.
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise click.UsageError(
            f"the file {str(path)!r} with the password cannot be read: {reason}"
        ) from None


def _guard(
    app: ASGIApp, given: ServeOptions, opened: socket.socket, host: str
) -> ASGIApp:
    """Return an app that checks for which host requests are, and knows its proxies."""
    from cadasta.workertoolbox.results.web.access.logins import parse_network
    from cadasta.workertoolbox.results.web.serving.hosts import LOCAL, AllowedHosts
    from cadasta.workertoolbox.results.web.serving.proxies import TrustedProxies

    addresses = [str(parse_network(each)) for each in given.trusted_proxy]
    app = TrustedProxies(app, addresses=addresses)
    if given.host or is_loopback(opened.getsockname()[0]):
        shown = f"[{host}]" if ":" in host else host
        app = AllowedHosts(app, hosts={*LOCAL, shown, *given.host})
    return app
