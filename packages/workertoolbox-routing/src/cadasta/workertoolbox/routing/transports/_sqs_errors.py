"""Which errors of AWS pass by themselves, and which queue an error is about."""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectionError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

#: Error codes with which AWS throttles requests: "Error handling in AWS SDKs". For 60
#: seconds a deleted queue cannot be created again.
_TEMPORARY = re.compile(
    "Throttl|TooManyRequests|RequestLimitExceeded|OverLimit|QueueDeletedRecently"
)

#: Error codes for a queue that does not exist, in both protocols of SQS.
_MISSING = re.compile("NonExistentQueue|QueueDoesNotExist")

#: Error codes for a queue that exists with other attributes, in both protocols.
_EXISTING = re.compile("QueueNameExists|QueueAlreadyExists")

#: Error codes for a receipt of a message that is visible again or was deleted: "Common
#: errors" of ChangeMessageVisibility in the SQS API reference.
_STALE = ("InvalidParameterValue", "MessageNotInflight", "ReceiptHandleIsInvalid")

#: Operations of consumers. A queue that has answered one and was deleted since is
#: expected to be created again.
_CONSUMERS_OPERATIONS = ("GetQueueAttributes", "ReceiveMessage", "DeleteMessage")

#: Operations that need the whole response. The others have had their effect when the
#: status arrives, and a truncated response must not make the client send again.
_READ_OPERATIONS = ("CreateQueue", "GetQueueAttributes", "ListQueues", "ReceiveMessage")

#: Errors of the network and of sources of credentials. Others, such as missing
#: credentials, do not pass by themselves.
NETWORK_ERRORS = (
    OSError,
    HTTPClientError,
    ConnectionError,
    IncompleteReadError,
    CredentialRetrievalError,
)

#: The code of an error, and the URL of a queue, in the JSON of a poll.
_ERROR_CODE = re.compile(rb'"__type": *"(?:[^"#]*#)?([^"]+)"')
_QUEUE_URL = re.compile(rb'"QueueUrl": *"([^"]+)"')

_URL = "workertoolbox_queue"


class TemporaryError(ClientError):
    """An error response of AWS after which the same request may succeed later."""


def watch(client: Any) -> None:
    """Make the errors of a client name their queue, and tell temporary ones apart."""
    events = client.meta.events
    events.register("before-parameter-build.sqs", _remember_queue)
    for operation in _READ_OPERATIONS:
        events.register(f"after-call.sqs.{operation}", _check_complete)
    events.register("after-call.sqs", _check_response)


#: URLs of queues that have answered a consumer of this process.
_answered: set[str] = set()


def error_of(response: dict[str, Any], operation: str, queue: str) -> ClientError:
    """Return the error in a response of AWS, with the queue in its message.

    Args:
        response: The response, as botocore parses it.
        operation: The API action.
        queue: The URL or the name of the queue; may be empty.
    """
    error = response["Error"]
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.get("Code", "")
    if queue:
        name = queue.rpartition("/")[2]
        where = f" (queue {name!r}" + (f", {queue})" if "/" in queue else ")")
        error["Message"] = f"{error.get('Message', '')}{where}"
    is_temporary = status >= 500 or status == 429 or bool(_TEMPORARY.search(code))
    is_expected = operation in _CONSUMERS_OPERATIONS and queue in _answered
    if is_temporary or (is_expected and is_missing(code)):
        return TemporaryError(response, operation)
    return ClientError(response, operation)


def error_of_poll(response: Any, body: bytes) -> ClientError:
    """Return the error in a response to a poll, which kombu does not parse."""
    code = _ERROR_CODE.search(body or b"")
    error = {"Code": code[1].decode() if code else "", "Message": repr(body)}
    url = _QUEUE_URL.search(response.response.request.body or b"")
    return error_of(
        {"Error": error, "ResponseMetadata": {"HTTPStatusCode": response.status}},
        "ReceiveMessage",
        url[1].decode() if url else "",
    )


def code_of(error: ClientError) -> str:
    """Return the error code in a response of AWS; an empty text without one."""
    return str(error.response["Error"].get("Code", ""))


def is_missing(code: str) -> bool:
    """Return whether an error code says that a queue does not exist."""
    return bool(_MISSING.search(code))


def is_existing(code: str) -> bool:
    """Return whether an error code says that a queue exists with other attributes."""
    return bool(_EXISTING.search(code))


def is_stale(code: str) -> bool:
    """Return whether an error code says that a message is not held any longer."""
    # Some codes begin with "AWS.SimpleQueueService.".
    return code.rpartition(".")[2] in _STALE


def remember_answer(url: str) -> None:
    """Remember that a queue has answered a consumer."""
    _answered.add(url)


def is_unsent(error: Exception) -> bool:
    """Return whether a failed request can be repeated without sending twice."""
    # After other errors the request may have reached AWS; botocore retries those.
    return isinstance(
        error, TemporaryError | EndpointConnectionError | ConnectTimeoutError
    )


def is_permanent(error: BaseException) -> bool:
    """Return whether the same request would fail again."""
    is_of_aws = isinstance(error, ClientError | BotoCoreError)
    return is_of_aws and not isinstance(error, (TemporaryError, *NETWORK_ERRORS))


def _remember_queue(params: dict[str, Any], context: Any, **_: Any) -> None:
    context[_URL] = params.get("QueueUrl") or params.get("QueueName") or ""


def _check_response(
    http_response: Any, parsed: dict[str, Any], model: Any, context: Any, **_: Any
) -> None:
    """Name the queue in an error.

    Raises:
        TemporaryError: botocore raises the others itself.
    """
    queue = context.get(_URL, "")
    if http_response.status_code < 300:
        if model.name in _CONSUMERS_OPERATIONS:
            remember_answer(queue)
        return
    error = error_of(parsed, model.name, queue)
    if isinstance(error, TemporaryError):
        raise error


def _check_complete(http_response: Any, **_: Any) -> None:
    """Refuse a truncated response, which botocore takes for an empty one.

    Raises:
        ConnectionClosedError: The connection ended after the status line; the caller
            may repeat the request on a new one.
    """
    # If the header is missing, the response was cut off before the body: expect a byte.
    expected = int(http_response.headers.get("Content-Length") or 1)
    if len(http_response.content) < expected:
        raise ConnectionClosedError(endpoint_url=http_response.url)
