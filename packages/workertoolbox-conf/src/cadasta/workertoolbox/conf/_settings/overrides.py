"""Warn about settings that Celery's own environment variables replace."""

from __future__ import annotations

import os
import warnings
from collections.abc import Container, Mapping
from typing import Any

from cadasta.workertoolbox.conf._settings.celery import URL_VARIABLES
from cadasta.workertoolbox.conf._settings.variables import DATABASE_VARIABLES
from cadasta.workertoolbox.routing import mask_url


class OverriddenSetting(UserWarning):
    """An environment variable of Celery's wins over a setting that is given."""


def warn_of_overrides(values: Mapping[str, Any], given: Container[str]) -> None:
    """Warn about given settings that Celery will not use.

    Args:
        values: Every setting, rendered.
        given: The names that a keyword or the environment gives. No warning is shown
            for a default.
    """
    for setting, variable in URL_VARIABLES.items():
        winner = os.environ.get(variable)
        loser = _given_setting(setting, given)
        if not winner or loser is None or values[loser] in (winner, None):
            continue
        # The warning always names this line, so that Python shows each text once.
        warnings.warn(
            f"{variable}={mask_url(winner)!r} in the environment (Celery's -b and "
            f"--result-backend set it too) wins over "
            f"{loser}={_shown(values[loser])!r}; unset it, or do not set {loser}",
            OverriddenSetting,
            stacklevel=1,
        )


def _given_setting(setting: str, given: Container[str]) -> str | None:
    """Return the given setting that a variable for `setting` replaces."""
    if setting == "result_backend":
        parts = (setting, *(variable.name for variable in DATABASE_VARIABLES))
        return setting if any(part in given for part in parts) else None
    return next((name for name in (setting, "broker_url") if name in given), None)


def _shown(urls: Any) -> str:
    return mask_url(urls if isinstance(urls, str) else ";".join(map(str, urls)))
