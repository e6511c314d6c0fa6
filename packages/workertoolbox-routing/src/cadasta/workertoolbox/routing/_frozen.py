"""Read-only dictionaries and lists.

A copy or a pickle of one is a plain `dict` or `list`: beat stores its schedule in a
file, which services without the toolbox read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from cadasta.workertoolbox.routing._errors import FrozenSettings

#: Settings whose dictionaries stay writable: `app.add_periodic_task` adds to the first,
#: and kombu writes the name of RabbitMQ's host into the second.
WRITABLE = ("beat_schedule", "broker_use_ssl")


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    # Without the content, which may be secret.
    kind = "dictionary" if isinstance(self, dict) else "list"
    raise FrozenSettings(
        f"a {kind} of a configuration cannot be changed; make a new configuration, or "
        "replace the whole value for the app: app.conf.<setting> = …"
    )


class FrozenDict(dict[Any, Any]):
    """A read-only dictionary."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class FrozenList(list[Any]):
    """A read-only list."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def freeze(value: Any) -> Any:
    """Return a copy of a value in which dictionaries, lists and sets are read-only.

    Objects of other types, including subclasses of these three and of tuple, are not
    copied.
    """
    if type(value) in (dict, FrozenDict):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if type(value) in (list, FrozenList):
        return FrozenList(map(freeze, value))
    if type(value) is tuple:
        return tuple(map(freeze, value))
    if type(value) is set:
        return frozenset(value)
    return value


def freeze_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with read-only values, except those named in `WRITABLE`."""
    values = {name: freeze(value) for name, value in settings.items()}
    for name in WRITABLE:
        if isinstance(values.get(name), FrozenDict):
            values[name] = dict(values[name])
    return values
