"""Skip or fail a test whose server is not installed."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def skip_or_fail(server: str, reason: str) -> NoReturn:
    """Skip the running test; fail it if the variable `CI` is set."""
    message = f"{server} is not available: {reason}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
