"""Names of the headers that the toolbox adds to messages.

All names are headers except `ROUTING_KEY`. The monitor of workertoolbox-results reads
them. The two packages do not import each other, so results has the same names in its
own `_headers.py`; a test of the repository compares the two.
"""

from __future__ import annotations

#: Time of publication, in ISO 8601 and UTC: brokers do not keep one, and the monitor
#: may read the message much later.
PUBLISHED_AT = "workertoolbox_published_at"

#: The work queue of a task whose routing key is not the name of its queue, because it
#: goes through an exchange of the user's own.
QUEUE = "workertoolbox_queue"

#: The service that published the task first: the name of its app, `app.main`.
SERVICE = "workertoolbox_service"

#: The version of that service: its setting `SERVICE_VERSION`.
SERVICE_VERSION = "workertoolbox_service_version"

#: Where the app that sends a task stores results, if this is not the database of the
#: toolbox: the scheme of its result backend, such as `redis`. Then no monitor learns
#: what became of the task, unless other workers run it.
RESULTS_ELSEWHERE = "workertoolbox_results_elsewhere"

#: The entry and the run of beat's schedule that a message belongs to: a dictionary, see
#: `_scheduled_runs.py`.
BEAT = "workertoolbox_beat"

#: What to show instead of the arguments: a dictionary with the caller's `argsrepr` and
#: `kwargsrepr`. Celery writes its own into every message, and its retries drop the
#: caller's.
DISPLAY_REPRS = "workertoolbox_shown"

#: Marks a message that could not be parsed: a dictionary with the `error` and other
#: details of the message.
UNREADABLE = "workertoolbox_unreadable"

#: Marks the copy of a task that the broker has refused after another copy was put: the
#: text of the refusal. The monitor ends the task.
REFUSED = "workertoolbox_refused"

#: Key in `delivery_info`: the routing key that a message was published with, after a
#: transport has pinned the message to the queue that it was read from.
ROUTING_KEY = "workertoolbox_routing_key"
