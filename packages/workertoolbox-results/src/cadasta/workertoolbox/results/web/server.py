"""The web server of `tasks web`."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp

from cadasta.workertoolbox.results._errors import ResultsError

_ADDRESS = re.compile(r"(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})")


class InvalidAddress(ResultsError, ValueError):
    """An address to bind to is malformed, or others could reach it without a login."""


class Address(NamedTuple):
    """Where a server listens; port 0 means any free port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


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


def serve(app: ASGIApp, address: Address) -> None:
    """Serve an app until the process is interrupted or terminated."""
    uvicorn.run(app, host=address.host, port=address.port, log_level="warning")
