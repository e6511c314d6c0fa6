"""The result backend of a producer that has none.

Celery loads `Backend` by its name, which `Routing` sets as `result_backend`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from celery.backends.base import DisabledBackend

from cadasta.workertoolbox.routing._errors import NoResultBackend


class Backend(DisabledBackend):
    """Celery's disabled backend, with errors that say what to do."""

    def ensure_chords_allowed(self) -> NoReturn:
        """Refuse to start a chord, whose tasks only a result backend can count.

        Raises:
            NoResultBackend: Always.
        """
        raise NoResultBackend("a chord, or a group that another task follows,")

    def _is_disabled(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NoResultBackend("the result of a task")

    get_state = get_status = get_result = get_traceback = _is_disabled
    get_task_meta = get_task_meta_for = wait_for = get_many = _is_disabled
