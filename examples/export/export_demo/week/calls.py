"""The calls of tasks, as their messages describe them."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from celery.app.task import Context
from kombu.message import Message

from cadasta.workertoolbox.results._headers import PUBLISHED_AT, SERVICE


def new_id(chance: random.Random) -> str:
    """Return the id of a task: a UUID as Celery makes them."""
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A task as its message describes it; its queue is the first part of its name.

    Attributes:
        at: When it is published.
        service: The name of the service that publishes it, and `host` its machine.
        embedded: The third part of the message's body: the steps after the task.
        headers: Headers beside those of the other attributes.
    """

    id: str
    name: str
    at: datetime
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    service: str | None = "shop"
    host: str = "shop-6b9f7d5c48-tq8zn"
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    retries: int = 0
    eta: datetime | None = None
    embedded: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def queue(self) -> str:
        """The queue: the first part of the name."""
        return self.name.partition(".")[0]

    @property
    def due_at(self) -> datetime:
        """When the task may run."""
        return max(self.at, self.eta or self.at)

    def message(self) -> Message:
        """Return the message, as a monitor receives it."""
        headers: dict[str, Any] = {
            **{"id": self.id, "task": self.name, "retries": self.retries},
            **{"root_id": self.root_id or self.id, "parent_id": self.parent_id},
            **{"group": self.group_id, "origin": f"gen7@{self.host}"},
            **{PUBLISHED_AT: self.at.isoformat(), SERVICE: self.service},
            **{"eta": self.eta and self.eta.isoformat(), **self.headers},
        }
        return Message(
            body=json.dumps([self.args, self.kwargs, self.embedded]),
            content_type="application/json",
            content_encoding="utf-8",
            delivery_info={"routing_key": self.queue},
            headers=headers,
        )

    def request(self, worker: str) -> Context:
        """Return the request of a run."""
        values: dict[str, Any] = {
            **{"id": self.id, "task": self.name, "hostname": worker},
            **{"args": self.args, "kwargs": self.kwargs, "retries": self.retries},
            **{"root_id": self.root_id or self.id, "parent_id": self.parent_id},
            **{"group": self.group_id, "eta": self.eta},
            **{PUBLISHED_AT: self.at.isoformat()},
            "delivery_info": {"routing_key": self.queue},
        }
        return Context(**values)


def signature(call: Call, **options: Any) -> dict[str, Any]:
    """Return the signature of a step that another message announces."""
    return {
        "task": call.name,
        "args": call.args,
        "kwargs": call.kwargs,
        "options": {"task_id": call.id, "queue": call.queue, **options},
    }
