"""Errors of a configuration, and of setting up an app.

ConfError
├── BrokerUnreachable (ConnectionError)
├── ConflictingSettings (ValueError)
├── DeclarationRefused (RuntimeError)
├── InvalidFolder (OSError)
├── InvalidValue (ValueError)
├── InvalidVariable (ValueError)
├── MissingQueues (ValueError)
├── NotConfigured (LookupError)
└── UnknownSetting (ValueError)

Queues that cannot be used, and settings that would break the tracking, raise errors of
`cadasta.workertoolbox.routing`. A URL template that cannot be rendered, and an invalid
`REDACT`, raise errors of `cadasta.workertoolbox.results`.
"""

from __future__ import annotations


class ConfError(Exception):
    """The root of every error of this package."""


class BrokerUnreachable(ConfError, ConnectionError):
    """The broker does not answer, or refuses the connection."""


class ConflictingSettings(ConfError, ValueError):
    """Two settings exclude each other."""


class DeclarationRefused(ConfError, RuntimeError):
    """The broker answers, but refuses to declare an exchange or a queue."""


class InvalidFolder(ConfError, OSError):
    """The folder of an embedded configuration cannot be created."""


class InvalidValue(ConfError, ValueError):
    """A keyword has a value that cannot be used."""


class InvalidVariable(ConfError, ValueError):
    """An environment variable has a name or a value that cannot be used."""


class MissingQueues(ConfError, ValueError):
    """Neither the call nor the environment names a queue."""


class NotConfigured(ConfError, LookupError):
    """The app is not configured with the toolbox."""

    def __init__(self, app_name: str | None) -> None:
        # Only the argument: pickle rebuilds an error from its `args`.
        super().__init__(app_name)
        self.app_name = app_name

    def __str__(self) -> str:
        return (
            f"app {self.app_name!r} is not configured with the toolbox; call "
            "app.config_from_object(Config(queues=[…])) first, or, if it has its "
            "configuration already, write what `celery -A … tasks adopt` prints"
        )


class UnknownSetting(ConfError, ValueError):
    """A keyword is neither a variable of the toolbox nor a setting of Celery's."""
