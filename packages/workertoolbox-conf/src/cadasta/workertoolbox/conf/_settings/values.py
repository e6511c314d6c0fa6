"""Checks of the values of variables and of Celery's settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from celery.utils.functional import maybe_list

from cadasta.workertoolbox.conf._errors import InvalidValue
from cadasta.workertoolbox.conf._settings.celery import SETTINGS, URL_VARIABLES
from cadasta.workertoolbox.conf._settings.variables import VARIABLES
from cadasta.workertoolbox.routing import check_url

#: What to write instead of a string, by the type of a setting of Celery's.
_NOT_STRINGS = {
    "bool": "True or False",
    "int": "a number, as in 10",
    "float": "a number, as in 10",
    "seconds": "seconds, as in 30",
    "duration": "seconds, as in 0.5, or a timedelta",
}

#: The settings with broker URLs.
_BROKER_URLS = tuple(name for name in URL_VARIABLES if name.startswith("broker_"))


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values that would fail later with an obscure error.

    Raises:
        InvalidValue: A check in `variables` fails, a number or a boolean of Celery's is
            given as a string, the transport options are not a dictionary, or a broker
            URL is not a string.
        InvalidRedaction: A rule of `REDACT` is malformed.
        InvalidRetention: A class or an age of `RETENTION` is invalid.
    """
    for variable in VARIABLES.values():
        value = values[variable.name]
        problem = variable.check(value) if variable.check else None
        if problem:
            shown = "********" if value and variable.is_secret else value
            raise InvalidValue(f"{variable.name}={shown!r} {problem}")
    for name, value in values.items():
        if name in SETTINGS:
            _check_not_a_string(name, value)
    _check_transport_options(values.get("broker_transport_options"))
    for name in _BROKER_URLS:
        _check_urls(name, values.get(name))


def _check_not_a_string(name: str, value: object) -> None:
    expected = _NOT_STRINGS.get(SETTINGS[name])
    if expected and isinstance(value, str):
        raise InvalidValue(f"{name}={value!r} is a string; write {expected}")


def _check_transport_options(options: object) -> None:
    if not isinstance(options, Mapping | None):
        # Without the value, which may be secret.
        raise InvalidValue(
            f"broker_transport_options has type {type(options).__name__}; write a "
            'dictionary, as in {"region": "us-west-2"}'
        )


def _check_urls(name: str, value: object) -> None:
    if not all(isinstance(url, str) for url in maybe_list(value) or ()):
        # Without the value, which may be secret.
        raise InvalidValue(
            f"{name} is neither a string nor a list of strings; write a URL, as in "
            "'amqp://localhost//', or several for failover"
        )


def check_result_backend(result_backend: object) -> None:
    """Refuse a rendered URL of a result backend that Celery would misread.

    Raises:
        InvalidSetting: A character has to be percent-encoded.
    """
    check_url("result_backend", str(result_backend or ""))
    variable = URL_VARIABLES["result_backend"]
    check_url(variable, os.environ.get(variable, ""))
