"""What Celery reads from the environment itself, past every configuration."""

from __future__ import annotations

import os
import warnings
from collections.abc import Container, Mapping
from typing import Any

from cadasta.workertoolbox.conf._settings.variables import RESULT_DB
from cadasta.workertoolbox.routing import mask_url

#: Celery's own variables, and the settings that each wins over, the nearest one first.
CELERYS = {
    "CELERY_BROKER_URL": ("broker_url",),
    "CELERY_BROKER_READ_URL": ("broker_read_url", "broker_url"),
    "CELERY_BROKER_WRITE_URL": ("broker_write_url", "broker_url"),
    "CELERY_RESULT_BACKEND": ("result_backend",),
}


class OverriddenSetting(UserWarning):
    """A variable of Celery's in the environment wins over what a service is given."""


def warn_of_overrides(values: Mapping[str, Any], given: Container[str]) -> None:
    """Warn of settings that are given, and that Celery will not heed.

    Args:
        values: Every setting, rendered.
        given: The names that a keyword or the environment gives. A default loses
            without a word.
    """
    for variable, names in CELERYS.items():
        winner = os.environ.get(variable)
        loser = next((name for name in names if _is_given(name, given)), None)
        if not winner or loser is None or values[loser] in (winner, None):
            continue
        # At this very line, so that Python shows each but once.
        warnings.warn(
            f"{variable}={mask_url(winner)!r} in the environment (Celery's -b and "
            f"--result-backend put one there too) wins over "
            f"{loser}={_shown(values[loser])!r}; unset it, or give no {loser}",
            OverriddenSetting,
            stacklevel=1,
        )


def _is_given(name: str, given: Container[str]) -> bool:
    return name in given or (
        name == "result_backend" and any(variable in given for variable in RESULT_DB)
    )


def _shown(urls: Any) -> str:
    return mask_url(urls if isinstance(urls, str) else ";".join(map(str, urls)))
