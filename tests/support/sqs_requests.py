"""Requests to SQS, recorded and answered through botocore's hooks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeAlias

import botocore  # type: ignore[import-untyped]
from botocore.awsrequest import (  # type: ignore[import-untyped]
    AWSPreparedRequest,
    AWSResponse,
)
from botocore.session import Session  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Request:
    """A request that is about to be sent; each retry is a request of its own.

    Attributes:
        operation: The API action, such as `SendMessage`.
        queue: The name of the queue: the last part of its URL.
        key: The access key that signs the request.
        body: The decoded JSON body.
    """

    operation: str
    queue: str
    key: str
    body: dict[str, Any]


#: An error to return without asking the server: HTTP status and error code.
ErrorResponse: TypeAlias = tuple[int, str]


@contextmanager
def recorded(
    answer: Callable[[Request], ErrorResponse | None] = lambda _: None,
) -> Iterator[list[Request]]:
    """Yield the requests of all clients that are created in the block, in order.

    Args:
        answer: Called with each request, in the thread that sends it. Returns an error
            response, or None to send the request to the server.
    """
    requests: list[Request] = []

    # botocore passes `request` by keyword.
    def record(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        requests.append(parsed := _parse(request))
        error = answer(parsed)
        return None if error is None else _error_response(request.url, *error)

    def install(session: Session) -> None:
        session.register("before-send.sqs", record)

    botocore.register_initializer(install)
    try:
        yield requests
    finally:
        botocore.unregister_initializer(install)


def _parse(request: AWSPreparedRequest) -> Request:
    headers = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    signed = re.search("Credential=([^/]+)/", headers["Authorization"])
    body = json.loads(request.body)
    return Request(
        headers["X-Amz-Target"].rpartition(".")[2],
        body.get("QueueUrl", "").rpartition("/")[2],
        signed[1] if signed else "",
        body,
    )


def _error_response(url: str, status: int, code: str) -> AWSResponse:
    body = {"__type": f"com.amazonaws.sqs#{code}", "message": "refused by the test"}
    return AWSResponse(url, status, {}, _RawBody(json.dumps(body).encode()))


class _RawBody(BytesIO):
    """A response body with the interface of urllib3's."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()
