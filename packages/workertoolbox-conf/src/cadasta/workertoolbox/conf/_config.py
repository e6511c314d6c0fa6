"""The configuration of a service."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from celery.utils.functional import maybe_list

from cadasta.workertoolbox.conf._brokers.conflicts import check_conflicts
from cadasta.workertoolbox.conf._brokers.folder import embedded_settings, make_folder
from cadasta.workertoolbox.conf._brokers.predefined_queues import with_predefined
from cadasta.workertoolbox.conf._brokers.profiles import with_profile
from cadasta.workertoolbox.conf._errors import InvalidValue, MissingQueues
from cadasta.workertoolbox.conf._logging import setup as _worker
from cadasta.workertoolbox.conf._settings.environment import FOLDER, read_environment
from cadasta.workertoolbox.conf._settings.names import check_names
from cadasta.workertoolbox.conf._settings.overrides import warn_of_overrides
from cadasta.workertoolbox.conf._settings.templates import render
from cadasta.workertoolbox.conf._settings.values import check_values
from cadasta.workertoolbox.conf._settings.variables import (
    ARGUMENTS,
    PREFIX,
    RESULT_DB,
    VARIABLES,
)
from cadasta.workertoolbox.results import RESULT_BACKEND, Redaction
from cadasta.workertoolbox.routing import Routing, Settings

#: What holds where neither a keyword, nor the environment, nor the profile of the
#: broker says otherwise.
_DEFAULTS: dict[str, Any] = {
    **{name: variable.default for name, variable in VARIABLES.items()},
    "broker_url": "sqs://",
    "result_backend": RESULT_BACKEND,
    "result_extended": True,
    "task_track_started": True,
}

#: The variables that mean nothing to routing.
_OWN = (
    *RESULT_DB,
    "CHORD_UNLOCK_MAX_RETRIES",
    "LOG_FORMAT",
    "MAX_ARGUMENT_BYTES",
    "PREDEFINED_QUEUES",
    "REDACT",
    "SENTRY",
)


class Config(Settings):
    """Celery settings with which every task is routed, tracked and stored.

    A keyword wins over the environment, the environment over the profile of the
    broker, and that over the default. A setting is read from `WORKERTOOLBOX_<NAME>`,
    all in uppercase, or from the file that `WORKERTOOLBOX_<NAME>_FILE` names.

    Args:
        queues: Names of the work queues, at least one, unless the environment has
            them. `celery` and the monitor queue are declared without being named.
        ENV_PREFIX: What the names of the variables in the environment begin with.
        settings: Variables of the toolbox in uppercase, and any setting of Celery's,
            or of the service's own, in lowercase. A string may be a template, like
            the default of `result_backend`.

    Raises:
        ConfError: See `cadasta.workertoolbox.conf`: one of its errors for each thing
            that can be wrong.
        RoutingError: Queues that cannot be used, or a setting that would break the
            tracking.
        InvalidRedaction: A rule of `REDACT` that cannot be understood.
        InvalidTemplate: A template that cannot be rendered.
    """

    RESULT_DB_USER: str | int
    RESULT_DB_PASS: str | int
    RESULT_DB_HOST: str | int
    RESULT_DB_PORT: str | int
    RESULT_DB_NAME: str | int
    CHORD_UNLOCK_MAX_RETRIES: int | None
    REDACT: dict[str, Any]
    MAX_ARGUMENT_BYTES: int | None
    PREDEFINED_QUEUES: str | dict[str, Any] | None
    LOG_FORMAT: str | None
    SENTRY: bool
    ENV_PREFIX: str

    def __init__(
        self,
        queues: Sequence[str] | None = None,
        *,
        ENV_PREFIX: str = PREFIX,
        **settings: Any,
    ) -> None:
        keywords = _keywords(queues, settings)
        self._set({**read_environment(ENV_PREFIX), **keywords}, ENV_PREFIX)

    def copy(self, queues: Sequence[str] | None = None, **changes: Any) -> Self:
        """Return a configuration with changes, checked and rendered anew.

        The environment is not read again.

        Args:
            queues: As for `Config`.
            changes: As `settings` for `Config`.

        Raises:
            ConfError: As for `Config`, and so on.
        """
        if "ENV_PREFIX" in changes:
            raise InvalidValue(
                f"ENV_PREFIX={changes['ENV_PREFIX']!r} would change nothing: a copy "
                "reads no environment; make a new configuration with it"
            )
        copy = type(self).__new__(type(self))
        copy._set({**self._given, **_keywords(queues, changes)}, self.ENV_PREFIX)
        return copy

    def _set(self, given: Mapping[str, Any], prefix: str) -> None:
        """Check and render what is given, and keep it too, for copies."""
        values = {**_DEFAULTS, **given}
        if values["QUEUES"] is None:
            raise MissingQueues(
                'no queues are given; write Config(queues=["export", "msg"]), or set '
                f"{prefix}_QUEUES=export,msg in the environment"
            )
        check_values(values)
        values = with_profile(with_predefined(values), given)
        Redaction(values["REDACT"])
        values = render(values)
        retries = values["CHORD_UNLOCK_MAX_RETRIES"]
        if retries is not None:
            values["task_annotations"] = [
                {"celery.chord_unlock": {"max_retries": retries}},
                *(maybe_list(values.get("task_annotations")) or ()),
            ]
        own = {name: values[name] for name in _OWN}
        others = {name: values[name] for name in values if name not in _OWN}
        routing = Routing(others.pop("QUEUES"), **others)
        super().__init__({**routing, **own, "ENV_PREFIX": prefix})
        object.__setattr__(self, "_given", Settings(given))
        check_conflicts(values, given)
        warn_of_overrides(values, given)

    @classmethod
    def embedded(
        cls,
        queues: Sequence[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        *,
        ENV_PREFIX: str = PREFIX,
        **settings: Any,
    ) -> Self:
        """Return a configuration that needs no server: all is in one folder.

        Its broker and its database are keywords to `Config`, and so win over the
        environment; a keyword given here wins over them.

        Args:
            queues: As for `Config`.
            folder: Where the messages and the results are; created where it does not
                exist. `.workertoolbox` in the working directory, unless the
                environment has another one in `WORKERTOOLBOX_FOLDER`.
            ENV_PREFIX: As for `Config`.
            settings: As for `Config`.

        Raises:
            InvalidFolder: The folder cannot be created.
        """
        if folder is None:
            folder = os.environ.get(f"{ENV_PREFIX}_{FOLDER}")
            folder = folder or str(ARGUMENTS["folder"].default)
        embedded = embedded_settings(make_folder(folder))
        options = settings.get("broker_transport_options") or {}
        settings = {**embedded, **settings}
        if isinstance(options, Mapping):
            options = {**embedded["broker_transport_options"], **options}
        settings["broker_transport_options"] = options
        return cls(queues, ENV_PREFIX=ENV_PREFIX, **settings)


def _keywords(queues: object, settings: dict[str, Any]) -> dict[str, Any]:
    check_names(settings)
    if queues is None:
        return settings
    if "QUEUES" in settings:
        raise InvalidValue(
            f"queues={queues!r} and QUEUES={settings['QUEUES']!r} are both given; give "
            "the queues once"
        )
    return {**settings, "QUEUES": queues}


# With the module, not with an object: one may come out of a pickle.
_worker.connect()
