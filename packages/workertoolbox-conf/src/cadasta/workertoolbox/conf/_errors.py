"""What can be wrong with a configuration, or with setting an app up.

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

Queues that cannot be used, and settings that would break the tracking, are errors of
`cadasta.workertoolbox.routing`; a URL template that cannot be rendered is one of
`cadasta.workertoolbox.results`.
"""

from __future__ import annotations


class ConfError(Exception):
    """The root of every error of this package."""


class BrokerUnreachable(ConfError, ConnectionError):
    """The broker does not answer, or does not let us in."""


class ConflictingSettings(ConfError, ValueError):
    """Two settings that cannot hold at the same time."""


class DeclarationRefused(ConfError, RuntimeError):
    """The broker answers, but does not declare a queue."""


class InvalidFolder(ConfError, OSError):
    """The folder of an embedded configuration cannot be used."""


class InvalidValue(ConfError, ValueError):
    """A keyword has a value that cannot be used."""


class InvalidVariable(ConfError, ValueError):
    """A variable in the environment has a name or a value that cannot be used."""


class MissingQueues(ConfError, ValueError):
    """Neither the call nor the environment names a queue."""


class NotConfigured(ConfError, LookupError):
    """An app has no configuration of the toolbox's."""


class UnknownSetting(ConfError, ValueError):
    """A keyword is neither a variable of the toolbox nor a setting of Celery's."""
