"""Errors of running a service in its tests.

ConfError
└── WorkerFailed (RuntimeError)
"""

from __future__ import annotations

from cadasta.workertoolbox.conf._errors import ConfError


class WorkerFailed(ConfError, RuntimeError):
    """A worker did not start, ended early, or did not end."""
