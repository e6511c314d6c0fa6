"""The app in commands that can be copied."""

from __future__ import annotations

import sys


def app_argument(default: str = "proj") -> str:
    """Return the app as the caller of this command has named it, as in `-A shop`."""
    for option, value in zip(sys.argv, sys.argv[1:], strict=False):
        if option in ("-A", "--app"):
            return value
    return default
