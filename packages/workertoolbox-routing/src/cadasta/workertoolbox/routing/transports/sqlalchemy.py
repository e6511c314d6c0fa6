"""Messages in a SQL database."""

from __future__ import annotations

from kombu.transport import sqlalchemy
from sqlalchemy.exc import OperationalError

from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport


class Channel(TaskChannel, sqlalchemy.Channel):
    """kombu's channel, with tasks and copies kept apart."""

    transient_errors = (OSError, OperationalError)


class Transport(TaskTransport, sqlalchemy.Transport):
    """kombu's transport with the channel above."""

    Channel = Channel
