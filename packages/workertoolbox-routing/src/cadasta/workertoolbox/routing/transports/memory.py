"""Transport `memory`: queues in the memory of one process, for tests."""

from __future__ import annotations

from kombu.transport import memory

from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport


class Channel(TaskChannel, memory.Channel):
    """kombu's channel, which publishes a task and its copy separately."""


class Transport(TaskTransport, memory.Transport):
    """kombu's transport with the channel above."""

    Channel = Channel
