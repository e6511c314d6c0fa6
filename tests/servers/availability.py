"""What a test does whose server is not there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def skip_or_fail(server: str, reason: str) -> NoReturn:
    """Skip the test on a laptop; fail it where `CI` is set, so that nothing hides."""
    message = f"{server} is not available: {reason}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
