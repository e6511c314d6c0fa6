"""The address that a server listens on."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import NamedTuple

from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._errors import ResultsError

_ADDRESS = re.compile(r"(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})")

#: Connections that wait until the server accepts them.
_BACKLOG = 100


class InvalidAddress(ResultsError, ValueError):
    """An address is malformed or in use, or others could reach it without a login."""


class Address(NamedTuple):
    """Where a server listens; port 0 means any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return an address such as `127.0.0.1:8555` or `[::1]:8555`.

    Raises:
        InvalidAddress: The text has another form.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65_535:
        raise InvalidAddress(
            f"{text!r} is not an address; write HOST:PORT, as in 127.0.0.1:8555"
        )
    return Address(match["host"].strip("[]"), int(match["port"]))


def listen(address: Address, *, everywhere: bool) -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        everywhere: Whether other machines may reach it.

    Raises:
        InvalidAddress: The address is in use or unknown, or other machines could reach
            it and must not.
    """
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _unusable(address, error) from error
    family, *_, resolved = found[0]
    if not everywhere and not is_loopback(str(resolved[0])):
        raise InvalidAddress(
            f"other machines can reach {address}; add a login, with --password-file "
            "or --proxy-user-header, or bind to 127.0.0.1"
        )
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Otherwise [::] would also be 0.0.0.0, or not, as the system is set.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(resolved)
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise _unusable(address, error) from error
    return opened


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an IP address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unusable(address: Address, error: OSError) -> InvalidAddress:
    reason = error.strerror or one_line(error)
    return InvalidAddress(
        f"cannot listen on {address}: {reason}; choose another address with --bind"
    )
