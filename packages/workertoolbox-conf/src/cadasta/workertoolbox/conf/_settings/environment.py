"""Read settings from the environment."""

from __future__ import annotations

import os
from typing import Any

from cadasta.workertoolbox.conf._errors import InvalidValue, InvalidVariable
from cadasta.workertoolbox.conf._settings.celery import SETTINGS
from cadasta.workertoolbox.conf._settings.names import OLD_NAMES
from cadasta.workertoolbox.conf._settings.variables import FOLDER, VARIABLES
from cadasta.workertoolbox.routing import InvalidSetting, read_variables
from cadasta.workertoolbox.routing import InvalidVariable as RoutingInvalidVariable

#: Types of the settings and variables that `Config` takes, by name.
_TYPES = {**SETTINGS, **{name: variable.type for name, variable in VARIABLES.items()}}


def read_environment(prefix: str) -> dict[str, Any]:
    """Return the settings that the environment gives, by the names that `Config` takes.

    Args:
        prefix: The prefix of the variables, without the `_`.

    Raises:
        InvalidValue: The prefix is not valid.
        InvalidVariable: A variable with the prefix is not a setting, its value or the
            file that it names cannot be read, or the value is given twice.
    """
    try:
        return read_variables(prefix, _TYPES, old_names=OLD_NAMES)
    except InvalidSetting as error:
        raise InvalidValue(str(error)) from None
    except RoutingInvalidVariable as error:
        raise InvalidVariable(str(error)) from None


def find_folder(prefix: str) -> str:
    """Return the folder that the environment names, or the default folder."""
    return os.environ.get(f"{prefix}_{FOLDER.name.upper()}") or str(FOLDER.default)
