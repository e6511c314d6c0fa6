"""Read-only settings whose `repr` masks secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from cadasta.workertoolbox.routing._errors import FrozenSettings
from cadasta.workertoolbox.routing._frozen import freeze_settings
from cadasta.workertoolbox.routing._masking import mask_value

#: The result backend of an app that has none. Celery imports it by this name.
NO_RESULTS = "cadasta.workertoolbox.routing.no_results:Backend"


class Settings(Mapping[str, Any]):
    """Celery settings in lowercase and the toolbox's variables in uppercase.

    A mapping, as `app.config_from_object` expects, whose names are attributes too.
    The settings and the dictionaries, lists and sets in them are read-only, except
    `beat_schedule` and `broker_use_ssl`, which Celery and kombu write to.
    `app.conf.x = …` changes the app, not the settings.
    """

    QUEUES: tuple[str, ...]
    PLATFORM_QUEUE_NAME: str
    QUEUE_PREFIX: str
    COPY_FAILURE: str
    UNKNOWN_PREFIX: str
    SERVICE_VERSION: str | None
    broker_transport_options: dict[str, Any]

    def __init__(self, settings: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", freeze_settings(settings))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._values:
            return self._values[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenSettings(
            f"{type(self).__name__} cannot be changed; make a new one with {name}=…"
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenSettings(
            f"{type(self).__name__} cannot be changed; make a new one without {name}"
        )

    def __hash__(self) -> int:
        # Values may be unhashable. Equal settings have equal names.
        return hash(frozenset(self._values))

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # A copied or pickled dictionary is a plain one.
        vars(self).update(state, _values=freeze_settings(state["_values"]))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={mask_value(name, value)!r}"
            for name, value in self.items()
            if name.islower()
        )
        return f"{type(self).__name__}({shown})"
