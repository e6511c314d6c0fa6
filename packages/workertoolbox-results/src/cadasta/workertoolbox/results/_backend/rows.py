"""Rows of `celery_taskmeta`, made from what Celery passes to a result backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from celery import Celery, states
from kombu.utils.encoding import ensure_bytes

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._arguments.known_secrets import KnownSecrets
from cadasta.workertoolbox.results._arguments.mapped_tasks import called_name
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.secret_texts import mask_text
from cadasta.workertoolbox.results._arguments.truncation import (
    max_argument_bytes,
    truncate,
)
from cadasta.workertoolbox.results._backend.fingerprint import Fingerprint
from cadasta.workertoolbox.results._database.tables import NAME_LENGTH
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._headers import PUBLISHED_AT
from cadasta.workertoolbox.results._history.stored_error import PLACE, message_of
from cadasta.workertoolbox.results._work_queues import WorkQueues

_NO_SECRETS = KnownSecrets()

#: States whose result is the text of an exception.
_WITH_REASON = (states.IGNORED, states.REJECTED)


class RowBuilder:
    """Builds the rows that a worker stores.

    Args:
        app: Its settings decide what is stored: `result_extended`, `REDACT` and
            `MAX_ARGUMENT_BYTES`.
        encode: Returns a value as JSON.

    Raises:
        InvalidLimit: `MAX_ARGUMENT_BYTES` is not a positive number of bytes.
        InvalidRedaction: `REDACT` contains an invalid rule.
    """

    def __init__(self, app: Celery, encode: Callable[[Any], Any]) -> None:
        self._app = app
        self._encode = encode
        self._redaction = Redaction.from_app(app)
        self._max_bytes = max_argument_bytes(app)
        self._queues = WorkQueues(app)
        #: The worker of this process, once it has started.
        self.worker: str | None = None

    def build(
        self,
        task_id: str,
        result: Any,
        state: str,
        *,
        traceback: str | None,
        children: Any,
        request: Any,
        fingerprint: Fingerprint | None = None,
    ) -> dict[str, Any]:
        """Return the row of a state.

        Args:
            result: The value, the exception or the meta data of the state.
            children: Results of the tasks that the task has published, or None.
            request: The task's request, or None outside a worker.
            fingerprint: The fingerprint of the error, for a failure or a retry.
        """
        name = getattr(request, "task", None) or ""
        # The request of a task that the worker does not know has few attributes.
        has_arguments = request is not None and hasattr(request, "args")
        hidden: list[Any] = []
        unshown: list[Any] = []
        extended = self._extended(request, hidden, unshown) if has_arguments else {}
        if state in states.EXCEPTION_STATES or state in _WITH_REASON:
            # Callers need results: what a publisher did not show may be just long.
            hidden += unshown
        secrets = KnownSecrets.of(hidden) if hidden else _NO_SECRETS
        if fingerprint is not None:
            result = _with_place(result, fingerprint)
        row: dict[str, Any] = {
            "task_id": task_id,
            "status": state,
            "result": self._encoded_result(name, result, state, secrets),
            # When this state was stored, even if it is not final, as in Celery's own
            # backend.
            "date_done": naive_utc(datetime.now(UTC)),
            "traceback": self._traceback(name, traceback, secrets),
            "children": self._encoded(children) if children else None,
        }
        if fingerprint is not None:
            key = self._error_group(name, fingerprint, row["result"], secrets)
            row["error_group"] = key
        if request is not None:
            parent_id = getattr(request, "parent_id", None)
            row["root_id"] = getattr(request, "root_id", None)
            # Celery publishes the retry of a task as a child of the task itself.
            row["parent_id"] = None if parent_id == task_id else parent_id
            row["group_id"] = getattr(request, "group", None)
            row["published_at"] = _read_instant(request, PUBLISHED_AT)
            if self._app.conf.result_extended:
                row.update(extended)
                if not has_arguments:
                    row["worker"] = _truncated_name(self.worker)
        return row

    def _extended(
        self, request: Any, hidden: list[Any], unshown: list[Any]
    ) -> dict[str, Any]:
        """Return the columns that `result_extended` adds.

        Args:
            hidden: List to which every masked argument is added.
            unshown: List to which arguments are added that a publisher does not show.
        """
        name = getattr(request, "task", None)
        args, kwargs = self._redaction.redact_message(
            name or "",
            request.args,
            request.kwargs,
            vars(request),
            hidden=hidden,
            unshown=unshown,
        )
        delivery_info = getattr(request, "delivery_info", None) or {}
        queue = self._queues.find(delivery_info, vars(request))
        stamps = _stamps(request)
        if stamps is not None:
            stamps["stamps"] = self._redaction.masking(name or "", hidden).mask(
                stamps["stamps"]
            )
        return {
            "name": _truncated_name(
                name and called_name(name, request.args, request.kwargs)
            ),
            "args": self._encoded_arguments(args),
            "kwargs": self._encoded_arguments(kwargs),
            "worker": _truncated_name(request.hostname),
            "retries": request.retries,
            "queue": _truncated_name(queue or None),
            "stamps": self._encoded(stamps) if stamps else None,
        }

    def _encoded_result(
        self, name: str, result: Any, state: str, secrets: KnownSecrets
    ) -> bytes:
        encoded = self._encoded(result)
        has_rules = self._redaction.has_result_rules
        if state not in states.EXCEPTION_STATES and not secrets and not has_rules:
            return encoded
        # The JSON is redacted: a result may contain objects of any type.
        shown = json.loads(encoded)
        redacted = self._redaction.redact_result(
            name, shown, status=state, secrets=secrets
        )
        return encoded if redacted == shown else self._encoded(redacted)

    def _error_group(
        self, name: str, fingerprint: Fingerprint, result: bytes, secrets: KnownSecrets
    ) -> str:
        """Return the key of an error's group; it contains no secrets of the task.

        Args:
            result: The error as it is stored.
        """
        if fingerprint.own_key is not None:
            is_secret = self._redaction.rules_of(name).is_secret
            shown = secrets.mask_text(mask_text(fingerprint.own_key, is_secret))
            return replace(fingerprint, own_key=shown).key("")
        needs_message = fingerprint.place is None
        return fingerprint.key(message_of(json.loads(result)) if needs_message else "")

    def _traceback(
        self, name: str, traceback: Any, secrets: KnownSecrets
    ) -> str | None:
        text = jsonable(traceback)
        if not isinstance(text, str):
            return None
        return self._redaction.redact_traceback(name, text, secrets=secrets)

    def _encoded_arguments(self, arguments: Any) -> bytes:
        encoded = self._encoded(arguments)
        if len(encoded) <= self._max_bytes:
            return encoded
        # The JSON of a message is truncated, so that the result is that of the monitor.
        return self._encoded(truncate(json.loads(encoded), self._max_bytes))

    def _encoded(self, value: Any) -> bytes:
        return ensure_bytes(self._encode(value))


def _with_place(result: Any, fingerprint: Fingerprint) -> Any:
    """Return a stored exception with the place where it was raised.

    The place comes before the message, because long errors are cut off at the end.
    """
    if fingerprint.place is None or not isinstance(result, dict):
        return result
    message = {"exc_message": result["exc_message"]}
    return {**result, PLACE: fingerprint.place, **message}


@lru_cache(maxsize=1024)
def _truncated_name(name: str | None) -> str | None:
    return name and str(jsonable(name))[:NAME_LENGTH]


def waited_s(request: Any, started_at: datetime | None) -> float | None:
    """Return the seconds from the publication of an attempt, or its ETA, to its start.

    It is None if the message does not say when it was published.
    """
    published_at = _read_instant(request, PUBLISHED_AT)
    if started_at is None or published_at is None:
        return None
    due_at = max(published_at, _read_instant(request, "eta") or published_at)
    return max(0.0, (started_at - due_at).total_seconds())


def _read_instant(request: Any, name: str) -> datetime | None:
    """Return an instant in the headers of a message, or None if there is none."""
    value = getattr(request, name, None)
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(instant, datetime):
            return None
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    except ValueError:
        return None


def _stamps(request: Any) -> dict[str, Any] | None:
    headers = request.stamped_headers
    if not request.stamps or not headers:
        return None
    stamps = {name: request.stamps[name] for name in headers if name in request.stamps}
    return {"stamped_headers": headers, "stamps": stamps}
