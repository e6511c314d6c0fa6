"""Dictionaries and lists that cannot be changed."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NoReturn

from cadasta.workertoolbox.routing._errors import FrozenSettings

#: Dictionaries that are written to: `app.add_periodic_task` adds to the first, and
#: kombu puts the name of RabbitMQ's host into the second.
WRITTEN = ("beat_schedule", "broker_use_ssl")


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    # Not what is in it, which may be secret.
    kind = "dictionary" if isinstance(self, dict) else "list"
    raise FrozenSettings(
        f"a {kind} of a configuration cannot be changed; make a new configuration, or "
        "give the app a whole value: app.conf.<setting> = …"
    )


class FrozenDict(dict[Any, Any]):
    """A dictionary for Celery to read. Its copies, deep ones too, are plain."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        return deepcopy(dict(self), memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class FrozenList(list[Any]):
    """A list for Celery to read. Its copies, deep ones too, are plain."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return deepcopy(list(self), memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)


def frozen(value: Any) -> Any:
    """Return a value with the dictionaries, lists, tuples and sets in it frozen.

    What is of another type, a subclass of these too, stays the object it is.
    """
    if type(value) in (dict, FrozenDict):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if type(value) in (list, FrozenList):
        return FrozenList(map(frozen, value))
    if type(value) is tuple:
        return tuple(map(frozen, value))
    if type(value) is set:
        return frozenset(value)
    return value


def frozen_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with their values frozen, but for those in `WRITTEN`."""
    values = {name: frozen(value) for name, value in settings.items()}
    for name in WRITTEN:
        if isinstance(values.get(name), FrozenDict):
            values[name] = dict(values[name])
    return values
