"""The requests that moto's server gets from all processes, read from its recorder."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from support.queue_contents import SQSContents


class RecordedRequest(NamedTuple):
    """A request to a queue.

    Attributes:
        operation: Such as `SendMessage`.
        queue: The name of the queue, without the prefix.
        key: The access key that signed the request.
    """

    operation: str
    queue: str
    key: str


@contextmanager
def record_requests(queues: SQSContents) -> Iterator[list[RecordedRequest]]:
    """Record the requests to queues until the block ends.

    Yields:
        A list that is filled when the block ends.
    """
    requests: list[RecordedRequest] = []
    _post(queues, "reset-recording")
    _post(queues, "start-recording")
    yield requests
    _post(queues, "stop-recording")
    for line in _post(queues, "download-recording").splitlines():
        record = json.loads(line)
        url = json.loads(base64.b64decode(record["body"])).get("QueueUrl", "")
        signed = re.search("Credential=([^/]+)/", record["headers"]["Authorization"])
        if url and signed:
            operation = record["headers"]["X-Amz-Target"].rpartition(".")[2]
            name = url.rpartition("/")[2].removeprefix(queues.prefix)
            requests.append(RecordedRequest(operation, name, signed[1]))


def _post(queues: SQSContents, command: str) -> bytes:
    server = http.client.HTTPConnection(
        urlsplit(queues.access.url).netloc.split("@")[1]
    )
    method = "GET" if command.startswith("download") else "POST"
    server.request(method, f"/moto-api/recorder/{command}")
    response = server.getresponse().read()
    server.close()
    return response
