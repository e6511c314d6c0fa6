"""Decoding of the meta of a result from its row."""

from __future__ import annotations

from typing import Any

from celery.backends import base
from celery.utils.serialization import create_exception_cls
from sqlalchemy import RowMapping

from cadasta.workertoolbox.results._backend.archived_results import (
    archived_meta,
    with_result,
)
from cadasta.workertoolbox.results._errors import PickledResult

#: Columns of the table that have the same name in Celery's result meta.
_META_COLUMNS = (
    "status",
    "date_done",
    "traceback",
    "children",
    "name",
    "args",
    "kwargs",
    "worker",
    "retries",
    "queue",
)

#: First byte of every pickle of protocol 2 and later.
_PICKLE_PREFIX = b"\x80"


class ResultMetaMixin(base.BaseBackend):
    """The methods that decode results, which Celery calls their meta.

    It is a dict of a task's state: `status`, `result`, `traceback`, `children` and,
    with `result_extended`, the task's name, arguments and worker.
    """

    _max_result_bytes: int

    def _archived_meta(self, row: RowMapping) -> dict[str, Any]:
        meta = archived_meta(
            row, self._decode_optional, max_bytes=self._max_result_bytes
        )
        decoded: dict[str, Any] = self.meta_from_decoded(meta)
        return decoded

    def _meta(self, row: RowMapping) -> dict[str, Any]:
        stamps = self._decode_optional(row["stamps"]) or {"stamps": {}}
        # A stamp may have the name of any key, such as `status`.
        meta = {**stamps, **stamps["stamps"]}
        del meta["stamps"]
        meta |= {name: row[name] for name in ("task_id", *_META_COLUMNS)}
        for name in ("args", "kwargs", "children"):
            meta[name] = self._decode_optional(meta[name])
        whole = with_result(
            meta, row, self._decode_optional, max_bytes=self._max_result_bytes
        )
        decoded: dict[str, Any] = self.meta_from_decoded(whole)
        return decoded

    def exception_to_python(self, exc: Any) -> Any:
        """Return a stored exception in a form that does not end the process.

        A `SystemExit` or `KeyboardInterrupt` of a task becomes an `Exception` of the
        same name.
        """
        found = super().exception_to_python(exc)
        if not isinstance(found, BaseException) or isinstance(found, Exception):
            return found
        kind = create_exception_cls(type(found).__name__, type(found).__module__)
        return kind(*found.args)

    def _decode_optional(self, content: bytes | None) -> Any:
        """Decode a column that contains JSON; return None if it is NULL.

        Raises:
            PickledResult: The content is a pickle.
        """
        if content is None:
            return None
        content = bytes(content)
        if content.startswith(_PICKLE_PREFIX):
            raise PickledResult()
        return self.decode(content)
