"""How long the history keeps tasks: the setting `RETENTION`, and its classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any, Self

from celery import Celery

from cadasta.workertoolbox.results._ages import parse_age
from cadasta.workertoolbox.results._database.statuses import ENDED, STATUSES
from cadasta.workertoolbox.results._errors import InvalidRetention

#: The retention class of a task to which no other applies.
DEFAULT = "default"


@dataclass(frozen=True)
class Retention:
    """The ages up to which ended tasks stay in the history, by retention class.

    Args:
        ages: The setting `RETENTION`. Keys are `default`, statuses of ended tasks, and
            names of tasks. Values are ages such as `90d`, or None to keep the tasks
            without limit.

    Attributes:
        days: The ages in days, rounded up, because the history is deleted by the day;
            None for a class that is kept without limit.

    Raises:
        InvalidRetention: A class or an age is invalid.
    """

    ages: Mapping[str, str | None] = field(default_factory=dict)
    days: Mapping[str, int | None] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.ages, Mapping):
            raise InvalidRetention((f"RETENTION={self.ages!r} is not a dictionary",))
        problems = tuple(_problems(self.ages))
        if problems:
            raise InvalidRetention(problems)
        days = {keep: _days(age) for keep, age in self.ages.items()}
        object.__setattr__(self, "days", MappingProxyType(days))

    @classmethod
    def for_app(cls, app: Celery) -> Self:
        """Return the retention that an app configures; by default everything is kept.

        Raises:
            InvalidRetention: `RETENTION` is invalid.
        """
        ages = app.conf.get("RETENTION")
        return cls({} if ages is None else ages)

    @property
    def keeps(self) -> frozenset[str]:
        """The statuses and names of tasks with a class of their own."""
        return frozenset(self.ages) - {DEFAULT}

    def last_day(self, keep: str, today: date) -> date | None:
        """Return the newest day of a class that is entirely too old.

        A class that is not configured any more is treated like `default`.

        Args:
            today: The date in UTC.

        Returns:
            None if the tasks are kept.
        """
        days = self.days.get(keep if keep in self.days else DEFAULT)
        if days is None:
            return None
        return today - timedelta(days=days + 1)


def _problems(ages: Mapping[Any, Any]) -> Iterable[str]:
    for keep, age in ages.items():
        if not isinstance(keep, str) or not keep.strip() or "\0" in keep:
            yield f"RETENTION has the key {keep!r}, which is not a status or a name"
        elif keep != keep.strip():
            yield f"RETENTION has the key {keep!r}, with a blank before or after it"
        elif keep != DEFAULT and keep.lower() == DEFAULT:
            yield f"RETENTION has the key {keep!r} instead of {DEFAULT!r}"
        elif keep.upper() in STATUSES and keep not in ENDED:
            known = ", ".join(sorted(ENDED))
            yield f"RETENTION has the key {keep!r}; statuses of ended tasks are {known}"
        elif age is not None:
            try:
                parse_age(age)
            except ValueError as error:
                yield f"RETENTION[{keep!r}]: {error}"


def _days(age: str | None) -> int | None:
    return None if age is None else math.ceil(parse_age(age) / timedelta(days=1))
