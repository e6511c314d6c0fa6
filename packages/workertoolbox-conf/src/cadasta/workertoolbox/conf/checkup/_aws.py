"""Check that AWS allows each action of SQS, without touching a message.

The attributes of a queue are read, and an existing queue is created again. The other
actions are tried with an invalid request: an excessive delay or number of messages, or
an unknown receipt. SQS refuses such a request only after it has allowed the action. For
batches, whose entries fail one by one, this follows from the API. `ReceiveMessage` has
no batch; AWS checks the permission first there too, but does not document it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cadasta.workertoolbox.conf._brokers.connection import error_text
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import (
    Finding,
    failed,
    ok,
    warning,
)
from cadasta.workertoolbox.results import PROBE

#: The action that kombu needs for every new connection.
LIST_QUEUES = "sqs:ListQueues"

#: A delay in seconds and a number of messages, each one more than SQS accepts according
#: to the API references of SendMessageBatch and ReceiveMessage.
_DELAY_S = 901
_MESSAGES = 11

_RECEIPT = {"Id": "probe", "ReceiptHandle": "none"}

#: Sends a request to a queue, given a client and the URL of the queue.
_Request = Callable[[Any, str], Any]

#: The invalid requests, by the action that each needs.
_REQUESTS: dict[str, _Request] = {
    "sqs:SendMessage": lambda client, url: client.send_message_batch(
        QueueUrl=url, Entries=[_entry(url)]
    ),
    "sqs:ReceiveMessage": lambda client, url: client.receive_message(
        QueueUrl=url, MaxNumberOfMessages=_MESSAGES
    ),
    "sqs:ChangeMessageVisibility": lambda client, url: (
        client.change_message_visibility_batch(
            QueueUrl=url, Entries=[{**_RECEIPT, "VisibilityTimeout": 0}]
        )
    ),
    "sqs:DeleteMessage": lambda client, url: client.delete_message_batch(
        QueueUrl=url, Entries=[_RECEIPT]
    ),
}


def aws(context: CheckContext) -> Iterator[Finding]:
    """Try each action on each existing queue."""
    if context.kind != "sqs":
        return
    channel = context.channel
    if not channel.predefined_queues:
        yield ok(LIST_QUEUES, "allowed")
    urls = {
        queue.name: channel._queue_cache[name]
        for queue in context.queues
        if (name := channel.canonical_queue_name(queue.name)) in channel._queue_cache
    }
    if not urls:
        return
    clients = {name: channel.sqs(channel.canonical_queue_name(name)) for name in urls}
    if not channel.predefined_queues:
        is_needed = len(urls) < len(context.queues)
        yield _check_create(channel, next(iter(urls)), is_needed=is_needed)
    yield from _check_attributes(channel, clients, urls)
    for action, request in _REQUESTS.items():
        yield _check_action(action, request, clients, urls)


def is_denied(error: BaseException) -> bool:
    """Return whether AWS denies this service an action."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return False
    return "AccessDenied" in str(response.get("Error", {}).get("Code", ""))


def _entry(url: str) -> dict[str, Any]:
    entry = {
        "Id": "probe",
        "MessageBody": "{}",
        "DelaySeconds": _DELAY_S,
        "MessageAttributes": {PROBE: {"DataType": "String", "StringValue": "dry"}},
    }
    if url.endswith(".fifo"):
        entry |= {"MessageGroupId": "probe", "MessageDeduplicationId": "probe"}
    return entry


def _check_action(
    action: str, request: _Request, clients: dict[str, Any], urls: dict[str, str]
) -> Finding:
    errors = {}
    for name, url in urls.items():
        try:
            request(clients[name], url)
        except Exception as error:
            if is_denied(error):
                errors[name] = "denied"
            elif not _is_answer(error):
                errors[name] = error_text(error)
    return _summary(action, errors)


def _check_attributes(
    channel: Any, clients: dict[str, Any], urls: dict[str, str]
) -> Iterator[Finding]:
    errors = {}
    for name, url in urls.items():
        try:
            answer = clients[name].get_queue_attributes(
                QueueUrl=url, AttributeNames=["VisibilityTimeout"]
            )
        except Exception as error:
            errors[name] = "denied" if is_denied(error) else error_text(error)
            continue
        timeout_s = int(answer["Attributes"]["VisibilityTimeout"])
        if timeout_s < channel.visibility_timeout:
            yield warning(
                f"queue {name}",
                f"its VisibilityTimeout of {timeout_s} s is shorter than "
                f"visibility_timeout ({channel.visibility_timeout} s): tasks that run "
                "longer are delivered twice",
                "set the VisibilityTimeout at AWS: kombu sets it for new queues only",
            )
    yield _summary("sqs:GetQueueAttributes", errors)


def _check_create(channel: Any, name: str, *, is_needed: bool) -> Finding:
    action = "sqs:CreateQueue"
    canonical_name = channel.canonical_queue_name(name)
    try:
        channel.sqs(canonical_name).create_queue(QueueName=canonical_name)
    except Exception as error:
        if is_denied(error):
            if is_needed:
                return failed(action, "denied, and queues are missing", _allow(action))
            return ok(action, "denied, and not needed: all queues exist")
        if not _is_answer(error):
            return failed(action, error_text(error), "try again")
    return ok(action, "allowed")


def _is_answer(error: Exception) -> bool:
    """Return whether AWS has answered, with an error."""
    return hasattr(error, "response")


def _summary(action: str, errors: dict[str, str]) -> Finding:
    if not errors:
        return ok(action, "allowed on every existing queue")
    detail = ", ".join(f"{name}: {error}" for name, error in errors.items())
    return failed(action, detail, _allow(action))


def _allow(action: str) -> str:
    return f"allow {action} on these queues for the identity of this service"
