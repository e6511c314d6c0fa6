"""Run every test without settings in the environment."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own settings from the environment."""
    for name in list(os.environ):
        if name.startswith(("WORKERTOOLBOX_", "CELERY_")):
            monkeypatch.delenv(name)
