"""Names in messages that this package reads: headers, and a key of `delivery_info`.

workertoolbox-routing writes them. Because the two packages do not import each other, it
has the same names in a `_headers.py` of its own; a test of the repository compares the
two. `PROBE` is an exception: the check-up writes it, and imports the name from here. So
is `RERUN`, which this package writes itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

#: Header with the instant of publication, in ISO 8601.
PUBLISHED_AT = "workertoolbox_published_at"

#: Header with the work queue of a task whose routing key is another one, because it
#: went through an exchange of the user's own.
QUEUE = "workertoolbox_queue"

#: Header with the name of the service that published the task first.
SERVICE = "workertoolbox_service"

#: Header with the version of that service.
SERVICE_VERSION = "workertoolbox_service_version"

#: Header with the kind of the result backend of the app that has sent a task, such as
#: `redis`, if its results are not stored in the database of the toolbox.
RESULTS_ELSEWHERE = "workertoolbox_results_elsewhere"

#: Header of a message that beat has sent: a dictionary with the entry of the schedule,
#: and the times of this run and the next one.
BEAT = "workertoolbox_beat"

#: Key in `delivery_info` with the routing key that a message was published with. The
#: routing package's transports set it if they replace the routing key with the name of
#: the queue that the message was read from.
ROUTING_KEY = "workertoolbox_routing_key"

#: Header that the routing package's transports add to a message that kombu cannot
#: parse, or whose properties no client can read.
UNREADABLE = "workertoolbox_unreadable"

#: Header with the texts that a publisher gave as `argsrepr` and `kwargsrepr`, to be
#: shown instead of the arguments.
DISPLAY_REPRS = "workertoolbox_shown"

#: Header of the copy of a task that the broker has refused: the text of the refusal.
#: Another copy, without this header, has announced the task.
REFUSED = "workertoolbox_refused"

#: Header of a task that is published again: a dictionary with the id of the task that
#: it repeats (`of`), its own id, and the operation. This package writes it.
RERUN = "workertoolbox_rerun"

#: Header of a message that the check-up sends to test whether messages reach the
#: monitor. A monitor acknowledges the message and does not store it.
PROBE = "workertoolbox_probe"

#: Prefix of a routing key in RabbitMQ's delayed delivery: a countdown in 28 bits.
_DELAY = re.compile(r"^(?:[01]\.){28}")

#: A function that returns the work queue of a message, as `work_queue` does.
FindQueue: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any]], str]


def work_queue(delivery_info: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
    """Return the work queue of a message.

    It is the routing key that the message was published with, unless a header names
    another queue.

    Args:
        delivery_info: That of kombu, in a message or in the request of a task.
        headers: Those of the message, or the attributes of the request.
    """
    if isinstance(queue := headers.get(QUEUE), str):
        return queue
    key = delivery_info.get(ROUTING_KEY) or delivery_info.get("routing_key") or ""
    return _DELAY.sub("", str(key))
