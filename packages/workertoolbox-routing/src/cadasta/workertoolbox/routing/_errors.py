"""What can be wrong with a routing configuration.

RoutingError
├── InvalidQueues (ValueError)
└── InvalidSetting (ValueError)
"""

from __future__ import annotations


class RoutingError(Exception):
    """The root of every error of this package."""


class InvalidQueues(RoutingError, ValueError):
    """The list of queues, or a name in it, cannot be used."""


class InvalidSetting(RoutingError, ValueError):
    """A setting has a name or a value that cannot be used."""
