"""`Config`: the settings of a service, from keywords, environment and defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

from celery import Celery
from kombu import Queue

from cadasta.workertoolbox.conf._brokers.folder import make_folder, with_folder
from cadasta.workertoolbox.conf._errors import InvalidValue
from cadasta.workertoolbox.conf._existing import (
    existing_settings,
    replace_settings,
    with_django,
)
from cadasta.workertoolbox.conf._keywords import UNSET, given_settings, with_queues
from cadasta.workertoolbox.conf._logging import setup as logging_setup
from cadasta.workertoolbox.conf._pipeline import build_settings
from cadasta.workertoolbox.conf._settings import variables
from cadasta.workertoolbox.conf._settings.environment import (
    find_folder,
    read_environment,
)
from cadasta.workertoolbox.routing import Settings, UndeclaredQueues


class Config(Settings):
    """Celery settings that route, track and store every task.

    A keyword wins over the environment, which wins over the profile of the broker,
    which wins over the default. In the environment a setting is `WORKERTOOLBOX_<NAME>`,
    in uppercase, or the content of the file that `WORKERTOOLBOX_<NAME>_FILE` names.

    Args:
        queues: The work queues, at least one, unless the environment gives them: names,
            and `Queue` objects of kombu with exchanges, keys and arguments of their
            own. `celery` and the monitor queue are always declared.
        ENV_PREFIX: Prefix of the environment variables, without the `_`.
        settings: Variables of the toolbox in uppercase, and settings of Celery or of
            the service in lowercase. A string may be a template, like the default of
            `result_backend`.

    Raises:
        ConfError: One of the errors of `cadasta.workertoolbox.conf`.
        RoutingError: A queue cannot be used, or a setting would break the tracking.
        InvalidRedaction: A rule of `REDACT` or `REDACT_RESULTS` is malformed.
        InvalidRetention: A class or an age of `RETENTION` is invalid.
        InvalidTemplate: A template cannot be rendered.
    """

    # The types of the variables, for type checkers; `Settings` has the others.
    RESULT_DB_USER: str | int
    RESULT_DB_PASS: str | int
    RESULT_DB_HOST: str | int
    RESULT_DB_PORT: str | int
    RESULT_DB_NAME: str | int
    CHORD_UNLOCK_MAX_RETRIES: int | None
    REDACT: dict[str, Any]
    REDACT_RESULTS: dict[str, Any]
    ERROR_GROUP: Callable[[BaseException, str], str | None] | str | None
    MAX_ARGUMENT_BYTES: int | None
    MAX_HISTORY_RESULT_BYTES: int | None
    ARCHIVE_AFTER: str | None
    LOST_AFTER: str | None
    RETENTION: dict[str, str | None]
    PREDEFINED_QUEUES: str | dict[str, Any] | None
    RESULT_DB_REQUIRED: bool
    LOG_FORMAT: str | None
    SENTRY: bool
    ENV_PREFIX: str

    def __init__(
        self,
        queues: Sequence[str | Queue] | None = None,
        *,
        QUEUES: Sequence[str | Queue] | None = UNSET,
        PLATFORM_QUEUE_NAME: str | Queue = UNSET,
        QUEUE_PREFIX: str = UNSET,
        COPY_FAILURE: Literal["log", "raise"] = UNSET,
        UNKNOWN_PREFIX: Literal["default", "refuse"] = UNSET,
        SERVICE_VERSION: str | None = UNSET,
        RESULT_DB_USER: str | int = UNSET,
        RESULT_DB_PASS: str | int = UNSET,
        RESULT_DB_HOST: str | int = UNSET,
        RESULT_DB_PORT: str | int = UNSET,
        RESULT_DB_NAME: str | int = UNSET,
        RESULT_DB_REQUIRED: bool = UNSET,
        PREDEFINED_QUEUES: str | Mapping[str, Any] | None = UNSET,
        REDACT: Mapping[str, Any] = UNSET,
        REDACT_RESULTS: Mapping[str, Any] = UNSET,
        ERROR_GROUP: Callable[[BaseException, str], str | None] | str | None = UNSET,
        MAX_ARGUMENT_BYTES: int | None = UNSET,
        MAX_HISTORY_RESULT_BYTES: int | None = UNSET,
        ARCHIVE_AFTER: str | None = UNSET,
        LOST_AFTER: str | None = UNSET,
        RETENTION: Mapping[str, str | None] = UNSET,
        LOG_FORMAT: Literal["json", "plain"] | None = UNSET,
        SENTRY: bool = UNSET,
        CHORD_UNLOCK_MAX_RETRIES: int | None = UNSET,
        queue_type: Literal["classic", "quorum"] | None = UNSET,
        ENV_PREFIX: str = variables.ENV_PREFIX.default,
        **settings: Any,
    ) -> None:
        keywords = with_queues(queues, given_settings(locals()))
        environment = read_environment(ENV_PREFIX)
        try:
            self._build({**environment, **keywords}, ENV_PREFIX)
        except UndeclaredQueues as error:
            if "QUEUES" in keywords:
                raise
            raise error.written_as(queues_setting=f"{ENV_PREFIX}_QUEUES") from None

    def copy(
        self,
        queues: Sequence[str | Queue] | None = None,
        *,
        QUEUES: Sequence[str | Queue] | None = UNSET,
        PLATFORM_QUEUE_NAME: str | Queue = UNSET,
        QUEUE_PREFIX: str = UNSET,
        COPY_FAILURE: Literal["log", "raise"] = UNSET,
        UNKNOWN_PREFIX: Literal["default", "refuse"] = UNSET,
        SERVICE_VERSION: str | None = UNSET,
        RESULT_DB_USER: str | int = UNSET,
        RESULT_DB_PASS: str | int = UNSET,
        RESULT_DB_HOST: str | int = UNSET,
        RESULT_DB_PORT: str | int = UNSET,
        RESULT_DB_NAME: str | int = UNSET,
        RESULT_DB_REQUIRED: bool = UNSET,
        PREDEFINED_QUEUES: str | Mapping[str, Any] | None = UNSET,
        REDACT: Mapping[str, Any] = UNSET,
        REDACT_RESULTS: Mapping[str, Any] = UNSET,
        ERROR_GROUP: Callable[[BaseException, str], str | None] | str | None = UNSET,
        MAX_ARGUMENT_BYTES: int | None = UNSET,
        MAX_HISTORY_RESULT_BYTES: int | None = UNSET,
        ARCHIVE_AFTER: str | None = UNSET,
        LOST_AFTER: str | None = UNSET,
        RETENTION: Mapping[str, str | None] = UNSET,
        LOG_FORMAT: Literal["json", "plain"] | None = UNSET,
        SENTRY: bool = UNSET,
        CHORD_UNLOCK_MAX_RETRIES: int | None = UNSET,
        queue_type: Literal["classic", "quorum"] | None = UNSET,
        **settings: Any,
    ) -> Self:
        """Return a configuration with changes, checked and rendered again.

        The environment is not read again.

        Args:
            queues: As for `Config`.
            settings: As for `Config`, like the variables.

        Raises:
            ConfError: As for `Config`, like its other errors.
        """
        if "ENV_PREFIX" in settings:
            prefix = settings["ENV_PREFIX"]
            raise InvalidValue(
                f"ENV_PREFIX={prefix!r} would change nothing, because a copy does not "
                "read the environment; make a new configuration with it"
            )
        given = given_settings(locals())
        copy = type(self).__new__(type(self))
        keywords = with_queues(queues, given)
        copy._build({**self._given, **keywords}, self.ENV_PREFIX)
        return copy

    @classmethod
    def embedded(
        cls,
        queues: Sequence[str | Queue] | None = None,
        folder: str | os.PathLike[str] | None = None,
        *,
        QUEUES: Sequence[str | Queue] | None = UNSET,
        PLATFORM_QUEUE_NAME: str | Queue = UNSET,
        QUEUE_PREFIX: str = UNSET,
        COPY_FAILURE: Literal["log", "raise"] = UNSET,
        UNKNOWN_PREFIX: Literal["default", "refuse"] = UNSET,
        SERVICE_VERSION: str | None = UNSET,
        RESULT_DB_USER: str | int = UNSET,
        RESULT_DB_PASS: str | int = UNSET,
        RESULT_DB_HOST: str | int = UNSET,
        RESULT_DB_PORT: str | int = UNSET,
        RESULT_DB_NAME: str | int = UNSET,
        RESULT_DB_REQUIRED: bool = UNSET,
        PREDEFINED_QUEUES: str | Mapping[str, Any] | None = UNSET,
        REDACT: Mapping[str, Any] = UNSET,
        REDACT_RESULTS: Mapping[str, Any] = UNSET,
        ERROR_GROUP: Callable[[BaseException, str], str | None] | str | None = UNSET,
        MAX_ARGUMENT_BYTES: int | None = UNSET,
        MAX_HISTORY_RESULT_BYTES: int | None = UNSET,
        ARCHIVE_AFTER: str | None = UNSET,
        LOST_AFTER: str | None = UNSET,
        RETENTION: Mapping[str, str | None] = UNSET,
        LOG_FORMAT: Literal["json", "plain"] | None = UNSET,
        SENTRY: bool = UNSET,
        CHORD_UNLOCK_MAX_RETRIES: int | None = UNSET,
        queue_type: Literal["classic", "quorum"] | None = UNSET,
        ENV_PREFIX: str = variables.ENV_PREFIX.default,
        **settings: Any,
    ) -> Self:
        """Return a configuration that needs no server: everything is in one folder.

        Its broker and its database win over the environment, like keywords. A keyword
        given here wins over them.

        Args:
            queues: As for `Config`.
            folder: The folder of messages and results; created if it does not exist.
                The default is `WORKERTOOLBOX_FOLDER` in the environment, or
                `.workertoolbox` in the working directory.
            ENV_PREFIX: As for `Config`.
            settings: As for `Config`.

        Raises:
            InvalidFolder: The folder cannot be created.
        """
        given = given_settings(locals())
        path = make_folder(find_folder(ENV_PREFIX) if folder is None else folder, given)
        return cls(queues, ENV_PREFIX=ENV_PREFIX, **with_folder(given, path))

    @classmethod
    def from_app(
        cls, app: Celery, queues: Sequence[str | Queue] = (), **settings: Any
    ) -> Self:
        """Return the configuration with which an app goes on with what it has.

        It has the queues, routes, broker and settings of the app, and the variables of
        the toolbox. As one more line after the present configuration, it replaces it,
        with what `Celery(…)` and `app.conf.update(…)` have set:
        `app.config_from_object(Config.from_app(app))`. If the app has the settings of
        Django, their variables `WORKERTOOLBOX_…` and their database are used too, as by
        `cadasta.workertoolbox.conf.django`.

        Args:
            app: An app that is configured without the toolbox.
            queues: Queues that neither its settings nor its routes name.
            settings: As for `Config`; they win.
        """
        existing = existing_settings(app.conf, queues)
        given = with_django(app.conf, existing, settings)
        has_folder = variables.FOLDER.name in given.keys() - existing.keys()
        config = (cls.embedded if has_folder else cls)(**given)
        replace_settings(app, config)
        return config

    def _build(self, given: Mapping[str, Any], prefix: str) -> None:
        """Build the settings, and keep the given ones for `copy`."""
        super().__init__({**build_settings(given, prefix), "ENV_PREFIX": prefix})
        object.__setattr__(self, "_given", Settings(given))


# At import, because unpickling a configuration does not build it.
logging_setup.connect_signals()
