"""Save, restore and delete groups: the table `celery_tasksetmeta`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from celery.backends import base
from celery.result import result_from_tuple
from kombu.utils.encoding import ensure_bytes
from sqlalchemy import delete, literal, select, update

from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import tasksetmeta
from cadasta.workertoolbox.results._database.types import naive_utc


class GroupMixin(base.BaseBackend):
    """The methods by which Celery saves and restores groups."""

    app: Celery
    database: Database
    _decode_optional: Callable[[bytes | None], Any]

    def _save_group(self, group_id: str, result: Any) -> Any:
        row = {
            "taskset_id": group_id,
            "result": ensure_bytes(self.encode(result.as_tuple())),
            "date_done": naive_utc(datetime.now(UTC)),
        }
        is_saved = tasksetmeta.c.taskset_id == group_id
        change = update(tasksetmeta).where(is_saved).values(row)
        values = (
            literal(value, tasksetmeta.c[name].type) for name, value in row.items()
        )
        missing = select(*values).where(~select(tasksetmeta).where(is_saved).exists())
        insert = insert_into(tasksetmeta, self.database.dialect.name)
        with self.database.connect() as connection:
            # Inserted only if there is no row, as in `write_state`.
            if not connection.execute(change).rowcount:
                connection.execute(
                    insert.from_select(list(row), missing).on_conflict_do_nothing()
                )
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        query = select(tasksetmeta).where(tasksetmeta.c.taskset_id == group_id)
        with self.database.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        result = result_from_tuple(self._decode_optional(row["result"]), self.app)
        return {**row, "result": result}

    def _delete_group(self, group_id: str) -> None:
        with self.database.connect() as connection:
            connection.execute(
                delete(tasksetmeta).where(tasksetmeta.c.taskset_id == group_id)
            )
