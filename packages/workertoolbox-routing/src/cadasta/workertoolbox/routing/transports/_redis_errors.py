"""Errors with which Redis refuses commands, for now or for good."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis import exceptions
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from cadasta.workertoolbox.routing._errors import BrokerRefused

#: Errors of a server that works but cannot write at the moment: a primary that became
#: a replica, a server at `maxmemory`, one that cannot save or lacks replicas, a cluster
#: that is moving, one that runs a slow script of anybody. A script that fails has one
#: of these words in the middle of its text.
_TEMPORARY = re.compile(
    r"\b(?:READONLY|UNBLOCKED|OOM|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN"
    r"|BUSY)\b"
)


class TemporaryError(exceptions.ConnectionError):
    """Redis refuses a command for now; a later connection may succeed."""


#: Errors after which a consumer waits and connects again.
TEMPORARY_ERRORS = (
    TemporaryError,
    exceptions.BusyLoadingError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
)


class _Watched:
    """Raise errors that pass by themselves as connection errors."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read a response.

        Raises:
            TemporaryError: Redis cannot run the command at the moment.
        """
        try:
            return super().read_response(*args, **kwargs)
        except exceptions.ResponseError as error:
            if _TEMPORARY.search(str(error)):
                raise TemporaryError(str(error)) from error
            raise


class Connection(_Watched, redis.Connection):
    """redis-py's connection with the errors above."""


class SSLConnection(_Watched, redis.SSLConnection):
    """redis-py's connection with TLS and the errors above."""


class SentinelConnection(_Watched, SentinelManagedConnection):
    """redis-py's connection to the primary of a sentinel, with the errors above."""


class SentinelSSLConnection(_Watched, SentinelManagedSSLConnection):
    """The same connection with TLS."""


@contextmanager
def refusals_named(url: str) -> Iterator[None]:
    """Raise another error if Redis refuses the login while a channel is opened.

    Args:
        url: The URL of the broker, with the password masked.

    Raises:
        BrokerRefused: The login or the database is refused. redis-py's own error is
            one of its connection errors, after which kombu would connect again.
    """
    try:
        yield
    except (
        exceptions.AuthenticationError,
        exceptions.AuthorizationError,
        exceptions.ResponseError,
    ) as error:
        raise BrokerRefused(url, str(error)) from error
