"""The ways in which the users of the pages are known."""

from __future__ import annotations

import hmac
import ipaddress
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from cadasta.workertoolbox.results._errors import ResultsError
from cadasta.workertoolbox.results.web.access.attempts import Attempts
from cadasta.workertoolbox.results.web.access.passwords import Password
from cadasta.workertoolbox.results.web.serving.proxies import peer_of

#: The name of a program that sends the password with each request.
TOKEN_USER = "token"

#: Maximum number of characters of a user's name.
MAX_NAME_LENGTH = 100


class InvalidLogin(ResultsError, ValueError):
    """The settings of a login are not valid."""


class TooManyAttempts(Exception):
    """A password was tried too often.

    Attributes:
        wait_s: Seconds until the next attempt.
    """

    def __init__(self, wait_s: int) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class Login(ABC):
    """How the users of the pages are known.

    Attributes:
        key: Signs sessions and forms.
    """

    key: bytes

    @abstractmethod
    def find_user(self, connection: HTTPConnection) -> str | None:
        """Return the name of the user of a request; None if there is no such user."""

    @property
    def refusal(self) -> str:
        """What a user is told who is not known."""
        return "log in to see these pages"


class PasswordLogin(Login):
    """A password for all users, which they type into a page.

    Programs send it with each request, as `Authorization: Bearer PASSWORD`. A user whom
    the cookie of a session names has typed that name, so it is not proof.

    Args:
        password: At least 12 characters. Only a hash is kept.

    Raises:
        InvalidPassword: It is shorter.
    """

    def __init__(self, password: str) -> None:
        self._password = Password(password)
        self.key = self._password.key
        self.attempts = Attempts()
        # A program sends the token with each request, and a hash takes long. A token
        # that was right once is compared by a fast one, with a key of this process.
        self._fast_key = os.urandom(32)
        self._fast: bytes | None = None

    def find_user(self, connection: HTTPConnection) -> str | None:
        """Return None: sessions and tokens are looked at before."""
        return None

    async def check(self, text: str, address: str) -> bool:
        """Return whether a text is the password.

        Raises:
            TooManyAttempts: There were too many wrong ones.
        """
        if wait_s := self.attempts.begin(address):
            raise TooManyAttempts(wait_s)
        fast = hmac.digest(
            self._fast_key, text.encode("utf-8", "surrogatepass"), "sha256"
        )
        is_right = self._fast is not None and hmac.compare_digest(fast, self._fast)
        if not is_right:
            is_right = await run_in_threadpool(self._password.matches, text)
        if is_right:
            self._fast = fast
            self.attempts.succeed(address)
        return is_right


class ProxyLogin(Login):
    """A proxy that knows its users, and names them in a header.

    Requests that do not come from the proxy are refused.

    Args:
        header: The header with the name, such as `X-Forwarded-User`. The proxy must
            remove it from what it receives.
        proxies: Addresses and networks of the proxy, such as `10.0.0.0/8`. Every
            program on them can name any user.

    Raises:
        InvalidLogin: An address is malformed, or there is none.
    """

    def __init__(self, header: str, proxies: Iterable[str]) -> None:
        self.header = header
        self.networks = [parse_network(each) for each in proxies]
        if not self.networks:
            raise InvalidLogin("name the addresses of the proxy that knows its users")
        self.key = os.urandom(32)

    def find_user(self, connection: HTTPConnection) -> str | None:
        """Return the user that the proxy names.

        Raises:
            HTTPException: The request did not come from the proxy.
        """
        try:
            peer = ipaddress.ip_address(peer_of(connection.scope))
        except ValueError:
            peer = None
        if peer is None or not any(peer in each for each in self.networks):
            raise HTTPException(
                HTTPStatus.FORBIDDEN, "these pages are only reached through their proxy"
            )
        names = connection.headers.getlist(self.header)
        name = names[0].strip() if len(names) == 1 else ""
        return name if 0 < len(name) <= MAX_NAME_LENGTH else None

    @property
    def refusal(self) -> str:
        """What a user is told whom the proxy did not name."""
        return f"the proxy did not name a user in {self.header}"


class AppLogin(Login):
    """The login of the application that the pages are mounted in.

    Example:
        With Starlette's `AuthenticationMiddleware`::

            def find_user(request):
                user = request.user
                return user.display_name if user.is_authenticated else None

            app.mount("/tasks", create_app(store, login=AppLogin(find_user)))

    Args:
        find_user: Returns the name of the user of a request, or None to refuse it. It
            is called in a thread.
        key: Signs forms. Give all processes of the application the same one; by default
            each process has its own.
    """

    def __init__(
        self,
        find_user: Callable[[HTTPConnection], str | None],
        *,
        key: bytes | None = None,
    ) -> None:
        self._find_user = find_user
        self.key = key or os.urandom(32)

    def find_user(self, connection: HTTPConnection) -> str | None:
        """Return the user that the application names."""
        return self._find_user(connection)


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the address or the network of a proxy.

    Raises:
        InvalidLogin: The text is malformed.
    """
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise InvalidLogin(
            f"{text!r} is not an address or a network; write 10.0.0.7 or 10.0.0.0/8"
        ) from None
