"""The error of a message that the monitor cannot read."""

from __future__ import annotations


class UnreadableMessage(ValueError):
    """A message is not a task message of Celery's protocol 2 in JSON."""
