"""What users of the pages may change."""

from __future__ import annotations

from collections.abc import Collection

from celery import Celery

from cadasta.workertoolbox.results._errors import ResultsError
from cadasta.workertoolbox.results.web.access.rights import RIGHTS
from cadasta.workertoolbox.results.web.operating.publishing import BackgroundReruns


class UnknownRight(ResultsError, ValueError):
    """There is no right with this name."""


class Operator:
    """Lets the users of the pages change something.

    Example:
        Let users rerun tasks, and know who did::

            operator = Operator(app, rights=["rerun"])
            create_app(store, login=PasswordLogin(password), operator=operator)

    Args:
        app: The app that publishes tasks again; their queues must be declared in it.
        rights: What users may do: `errors` to resolve, ignore and reopen groups of
            errors, for which the store's role needs the privileges of a purger, and
            `rerun`, for which it needs those of an operator.

    Raises:
        UnknownRight: A right has another name.
    """

    def __init__(self, app: Celery, *, rights: Collection[str] = tuple(RIGHTS)) -> None:
        if unknown := sorted({*rights} - {*RIGHTS}):
            raise UnknownRight(
                f"there is no right {unknown[0]!r}; the rights are {', '.join(RIGHTS)}"
            )
        self.app = app
        self.rights = frozenset(rights)
        self.reruns = BackgroundReruns(app)
