"""Run every test without settings in the environment, and the slowest ones first."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own settings from the environment."""
    for name in list(os.environ):
        if name.startswith(("WORKERTOOLBOX_", "CELERY_")):
            monkeypatch.delenv(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run first what mostly waits, so that parallel processes end together."""
    items.sort(key=lambda item: item.path.name != "test_testing_conformance.py")
