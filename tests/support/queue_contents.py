"""The messages in a broker's queues, read without kombu and without the toolbox."""

from __future__ import annotations

import base64
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3  # type: ignore[import-untyped]
import pytest
from amqp import Connection as AMQPConnection
from amqp import Message as AMQPMessage
from redis import Redis
from sqlalchemy import create_engine, text

from servers.access import BrokerAccess, BrokerServer
from servers.postgresql import PostgreSQL

#: The brokers on which the client, not the server, makes the copies.
VIRTUAL_BROKERS = ("redis", "sqs", "filesystem", "sqlalchemy")

#: Every broker that has `QueueContents`.
BROKERS = ("rabbitmq", *VIRTUAL_BROKERS)


class QueueContents(ABC):
    """The queues in a part of a broker that only one test uses.

    Attributes:
        access: The URL and options of the part.
    """

    def __init__(self, access: BrokerAccess) -> None:
        self.access = access

    @abstractmethod
    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Return the messages in a queue without removing them."""

    @abstractmethod
    def put(self, queue: str, raw: bytes) -> None:
        """Put any bytes into an existing queue."""

    @abstractmethod
    def is_empty(self, queue: str) -> bool:
        """Return whether a queue without consumers has no messages."""

    def ids(self, queue: str) -> list[str]:
        """Return the ids of the tasks in a queue, sorted."""
        return sorted(message["headers"]["id"] for message in self.messages(queue))


class RabbitMQContents(QueueContents):
    """The queues of a RabbitMQ virtual host."""

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """Yield a channel of py-amqp."""
        url = urlsplit(self.access.url)
        with AMQPConnection(
            host=f"{url.hostname}:{url.port}",
            userid=url.username or "",
            password=url.password or "",
            virtual_host=url.path[1:],
        ) as connection:
            yield connection.channel()

    def messages(self, queue: str) -> list[dict[str, Any]]:
        # Unacknowledged messages return to the queue when the connection closes.
        with self.channel() as channel:
            found = iter(lambda: channel.basic_get(queue), None)
            return [{"headers": message.headers} for message in found]

    def put(self, queue: str, raw: bytes) -> None:
        with self.channel() as channel:
            channel.basic_publish(AMQPMessage(raw), routing_key=queue)

    def is_empty(self, queue: str) -> bool:
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count) == 0


class RedisContents(QueueContents):
    """Redis lists whose keys have a prefix."""

    @contextmanager
    def connected(self) -> Iterator[Redis]:
        """Yield a client of redis-py."""
        with Redis.from_url(self.access.url) as client:
            yield client

    def key(self, name: str) -> str:
        """Return a key with the prefix."""
        return f"{self.access.transport_options['global_keyprefix']}{name}"

    def messages(self, queue: str) -> list[dict[str, Any]]:
        with self.connected() as client:
            found: Any = client.lrange(self.key(queue), 0, -1)
        return [json.loads(message) for message in found]

    def blocked(self) -> int:
        """Return how many clients of the server are blocked by `BRPOP`."""
        with self.connected() as client:
            return int(client.info("clients")["blocked_clients"])

    def put(self, queue: str, raw: bytes) -> None:
        with self.connected() as client:
            client.lpush(self.key(queue), raw)

    def is_empty(self, queue: str) -> bool:
        with self.connected() as client:
            waiting: Any = client.llen(self.key(queue))
            held: Any = client.hlen(self.key("unacked"))
        return bool(waiting + held == 0)


class SQSContents(QueueContents):
    """SQS queues whose names have a prefix.

    `messages` returns ten messages at most. Call it once for a queue with several
    messages of one message group: the emulator treats those that were read as in
    flight.
    """

    @property
    def prefix(self) -> str:
        """The prefix of the queue names."""
        return str(self.access.transport_options["queue_name_prefix"])

    def client(self, key: str = "testing") -> Any:
        """Return a boto3 client with an access key."""
        url = urlsplit(self.access.url)
        session = boto3.Session(key, "secret", region_name="us-west-2")
        return session.client("sqs", endpoint_url=f"http://{url.hostname}:{url.port}")

    def url(self, queue: str) -> str:
        """Return the URL of a queue."""
        found = self.client().get_queue_url(QueueName=self.prefix + queue)
        return str(found["QueueUrl"])

    def urls(self) -> dict[str, str]:
        """Return the URLs of all queues by their names without the prefix."""
        found = self.client().list_queues(QueueNamePrefix=self.prefix)
        return {
            url.rpartition("/")[2].removeprefix(self.prefix): url
            for url in found.get("QueueUrls", [])
        }

    def messages(self, queue: str) -> list[dict[str, Any]]:
        found = self.client().receive_message(
            QueueUrl=self.url(queue),
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return [
            {
                **json.loads(base64.b64decode(message["Body"])),
                "message_attributes": message.get("MessageAttributes"),
                "attributes": message["Attributes"],
            }
            for message in found.get("Messages", [])
        ]

    @cached_property
    def _client(self) -> Any:
        return self.client()

    @cache  # noqa: B019
    def _url(self, queue: str) -> str:
        return self.url(queue)

    def put(self, queue: str, raw: bytes) -> None:
        order = {"MessageGroupId": uuid4().hex, "MessageDeduplicationId": uuid4().hex}
        self._client.send_message(
            QueueUrl=self._url(queue),
            MessageBody=raw.decode(),
            **(order if queue.endswith(".fifo") else {}),
        )

    def is_empty(self, queue: str) -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._client.get_queue_attributes(
            QueueUrl=self._url(queue), AttributeNames=names
        )
        return all(int(found["Attributes"][name]) == 0 for name in names)


class FileSystemContents(QueueContents):
    """Message files in a folder."""

    @property
    def folder(self) -> Path:
        """The folder of the messages."""
        return Path(str(self.access.transport_options["data_folder_in"]))

    def messages(self, queue: str) -> list[dict[str, Any]]:
        files = self.folder.glob(f"*.{queue}.msg")
        return [json.loads(file.read_text("utf-8")) for file in files]

    def put(self, queue: str, raw: bytes) -> None:
        name = f"{time.time_ns():020}_{uuid4()}.{queue}.msg"
        part = self.folder / f".{name}.part"
        part.write_bytes(raw)
        part.rename(self.folder / name)

    def is_empty(self, queue: str) -> bool:
        return next(self.folder.rglob(f"*.{queue}.msg"), None) is None


class SQLAlchemyContents(QueueContents):
    """Message rows in a database.

    Attributes:
        database: The SQLAlchemy URL of the database.
    """

    def __init__(self, access: BrokerAccess, database: str) -> None:
        super().__init__(access)
        self.database = database

    def execute(self, statement: str, **values: object) -> list[Any]:
        """Execute a statement in its own transaction, and return its rows."""
        engine = create_engine(self.database)
        with engine.begin() as connection:
            # kombu's sessions may hold locks until they are closed.
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            result = connection.execute(text(statement), values)
            rows = list(result) if result.returns_rows else []
        engine.dispose()
        return rows

    def messages(self, queue: str) -> list[dict[str, Any]]:
        rows = self.execute(
            "SELECT payload FROM kombu_message JOIN kombu_queue"
            " ON kombu_queue.id = queue_id WHERE visible AND name = :queue",
            queue=queue,
        )
        return [json.loads(row.payload) for row in rows]

    def put(self, queue: str, raw: bytes) -> None:
        self.execute(
            "INSERT INTO kombu_message (id, visible, timestamp, payload, version, "
            "queue_id) SELECT nextval('message_id_sequence'), true, :now, :payload, 1, "
            "id FROM kombu_queue WHERE name = :queue",
            now=datetime.now(UTC).replace(tzinfo=None),
            payload=raw.decode(),
            queue=queue,
        )

    def is_empty(self, queue: str) -> bool:
        return not self.execute(
            "SELECT 1 FROM kombu_message JOIN kombu_queue ON kombu_queue.id = queue_id"
            " WHERE visible AND name = :queue",
            queue=queue,
        )


@contextmanager
def open_queue_contents(
    name: str, request: pytest.FixtureRequest, folder: Path
) -> Iterator[QueueContents]:
    """Yield a part of a broker without queues, which lasts as long as the block.

    Args:
        name: One of `BROKERS`.
        request: Provides the fixture of the server.
        folder: The folder for message files.
    """
    if name == "filesystem":
        yield FileSystemContents(folder_access(folder))
    elif name == "sqlalchemy":
        databases: PostgreSQL = request.getfixturevalue("postgresql")
        with databases.database() as database:
            yield SQLAlchemyContents(BrokerAccess(f"sqla+{database}"), database)
    else:
        server: BrokerServer = request.getfixturevalue(name)
        with server.access() as access:
            yield _OF_SERVERS[name](access)


_OF_SERVERS: dict[str, type[QueueContents]] = {
    "rabbitmq": RabbitMQContents,
    "redis": RedisContents,
    "sqs": SQSContents,
}


def folder_access(folder: Path) -> BrokerAccess:
    """Return the URL and options of a broker in a folder."""
    # The client polls for new files: every 100 ms, so that tests do not wait.
    return BrokerAccess(
        "filesystem://localhost/",
        {
            "data_folder_in": str(folder / "box"),
            "data_folder_out": str(folder / "box"),
            "control_folder": str(folder / "bindings"),
            "polling_interval": 0.1,
        },
    )
