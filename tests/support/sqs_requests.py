"""What goes to AWS, seen and answered at botocore's own hooks."""

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
    """A request that is about to be sent, each try one of its own.

    Attributes:
        operation: Such as `SendMessage`.
        queue: The last part of the queue's URL.
        key: The access key that it is signed with.
        body: What is asked.
    """

    operation: str
    queue: str
    key: str
    body: dict[str, Any]


#: An answer instead of the server's: HTTP status and error code.
ErrorResponse: TypeAlias = tuple[int, str]


@contextmanager
def recorded(
    answer: Callable[[Request], ErrorResponse | None] = lambda _: None,
) -> Iterator[list[Request]]:
    """Yield the requests of every client that is made in the block, in their order.

    Args:
        answer: Called with each of them, in its thread; None lets it go to the server.
    """
    requests: list[Request] = []

    def look(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        requests.append(one := _read(request))
        refusal = answer(one)
        return None if refusal is None else _refuse(request.url, *refusal)

    def install(session: Session) -> None:
        session.register("before-send.sqs", look)

    botocore.register_initializer(install)
    try:
        yield requests
    finally:
        botocore.unregister_initializer(install)


def _read(request: AWSPreparedRequest) -> Request:
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


def _refuse(url: str, status: int, code: str) -> AWSResponse:
    body = {"__type": f"com.amazonaws.sqs#{code}", "message": "refused by the test"}
    return AWSResponse(url, status, {}, _Raw(json.dumps(body).encode()))


class _Raw(BytesIO):
    """A body as urllib3 gives it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()
