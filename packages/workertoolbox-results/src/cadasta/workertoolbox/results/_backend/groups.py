"""Save, restore and delete groups: the table `celery_tasksetmeta`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

from celery import Celery, states
from celery.backends import base
from celery.result import ResultSet, result_from_tuple
from kombu.utils.encoding import ensure_bytes
from sqlalchemy import delete, literal, select, update

from cadasta.workertoolbox.results._backend.polling import LONGEST_S
from cadasta.workertoolbox.results._backend.task_ids import check_id
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import tasksetmeta
from cadasta.workertoolbox.results._database.types import naive_utc


class _PredecessorFailed(Exception):
    """The task before a group has failed, so the group does not run."""

    def __init__(self, meta: dict[str, Any]) -> None:
        super().__init__()
        self.meta = meta


class GroupMixin(base.BaseBackend):
    """The methods by which Celery saves and restores groups."""

    app: Celery
    database: Database
    _decode_optional: Callable[[bytes | None], Any]
    get_many: Callable[..., Iterator[tuple[str, dict[str, Any]]]]
    _find_ended: Callable[..., list[tuple[str, dict[str, Any]]]]

    def iter_native(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = LONGEST_S,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Any:
        """Yield the id and meta of each task of a group as soon as it has ended.

        If the task before the group in its chain fails, the tasks of the group are
        never published. They are yielded with the error of that task.
        """
        predecessors = {each.id for each in _predecessors(result)}
        waiting = {
            each.id for each in result.results if not isinstance(each, ResultSet)
        }

        def look() -> None:
            if on_interval is not None:
                on_interval()
            for _, meta in self._find_ended(predecessors) if predecessors else ():
                if meta["status"] in states.PROPAGATE_STATES:
                    raise _PredecessorFailed(meta)

        for each in result.results:
            if isinstance(each, ResultSet):
                yield cast(Any, each).id, each.results
        try:
            look()
            for task_id, meta in self.get_many(
                frozenset(waiting),
                timeout=timeout,
                interval=interval,
                on_message=on_message,
                on_interval=look,
            ):
                waiting.discard(task_id)
                yield task_id, meta
        except _PredecessorFailed as failure:
            for task_id in waiting:
                yield task_id, {**failure.meta, "task_id": task_id}

    def _save_group(self, group_id: str, result: Any) -> Any:
        check_id(group_id)
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


def _predecessors(result: Any) -> Iterator[Any]:
    """Yield the results of the tasks before a group in its chain."""
    for node in (result, *result.results):
        while (node := node.parent) is not None:
            if not isinstance(node, ResultSet):
                yield node
