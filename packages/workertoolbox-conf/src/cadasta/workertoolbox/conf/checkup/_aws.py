"""Which actions of SQS are allowed, one by one, without touching a message.

A queue's attributes are read, and a queue is made that is there. Of the others, each is
asked for in a way that SQS refuses once it has allowed the action: a delay, a number of
messages or a receipt that is none. As batches, whose entries fail by themselves, it can
do so only after that; for `ReceiveMessage`, of which there is no batch, that an
allowance comes before the number of messages is what AWS does, not what it promises.
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

#: What kombu does with a new connection.
LIST = "sqs:ListQueues"

#: More than the longest delay in seconds, and than the most messages at once, that SQS
#: takes: the references of SendMessageBatch and ReceiveMessage.
_DELAY_S = 901
_MESSAGES = 11

_RECEIPT = {"Id": "probe", "ReceiptHandle": "none"}

#: A request to a queue, by its client and URL.
_Request = Callable[[Any, str], Any]

#: What a queue is asked for, by the action of IAM.
_ACTIONS: dict[str, _Request] = {
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
    """Try each action on every queue that is there."""
    if context.kind != "sqs":
        return
    channel = context.channel
    if not channel.predefined_queues:
        yield ok(LIST, "allowed")
    there = {
        queue.name: channel._queue_cache[whole]
        for queue in context.queues
        if (whole := channel.canonical_queue_name(queue.name)) in channel._queue_cache
    }
    if not there:
        return
    clients = {name: channel.sqs(channel.canonical_queue_name(name)) for name in there}
    if not channel.predefined_queues:
        is_needed = len(there) < len(context.queues)
        yield _creation(channel, next(iter(there)), is_needed=is_needed)
    yield from _attributes(channel, clients, there)
    for action, request in _ACTIONS.items():
        yield _action(action, request, clients, there)


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


def _action(
    action: str, request: _Request, clients: dict[str, Any], urls: dict[str, str]
) -> Finding:
    errors = {}
    for name, url in urls.items():
        try:
            request(clients[name], url)
        except Exception as error:
            if is_denied(error):
                errors[name] = "denied"
            elif not hasattr(error, "response"):
                errors[name] = error_text(error)  # AWS has not answered
    return _verdict(action, errors)


def _attributes(
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
                f"it delivers a message again after {timeout_s} s, and "
                f"visibility_timeout is {channel.visibility_timeout} s",
                "set its VisibilityTimeout at AWS: kombu does so for new queues only",
            )
    yield _verdict("sqs:GetQueueAttributes", errors)


def _creation(channel: Any, name: str, *, is_needed: bool) -> Finding:
    action = "sqs:CreateQueue"
    whole = channel.canonical_queue_name(name)
    try:
        channel.sqs(whole).create_queue(QueueName=whole)
    except Exception as error:
        if is_denied(error):
            if is_needed:
                return failed(action, "denied, and queues are missing", _allow(action))
            return ok(action, "denied, and not needed: every queue is there")
        if not hasattr(error, "response"):
            return failed(action, error_text(error), "try again")
    return ok(action, "allowed")


def _verdict(action: str, errors: dict[str, str]) -> Finding:
    if not errors:
        return ok(action, "allowed on every queue that is there")
    detail = ", ".join(f"{name}: {error}" for name, error in errors.items())
    return failed(action, detail, _allow(action))


def _allow(action: str) -> str:
    return f"allow {action} to this service's identity, on these queues"


def is_denied(error: BaseException) -> bool:
    """Tell whether AWS has refused an action to who asked, and knows who it is."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return False
    return "AccessDenied" in str(response.get("Error", {}).get("Code", ""))
