"""A plugin of pytest for the process from which the tests of each mutant fork."""

from __future__ import annotations

import gc


def pytest_sessionfinish() -> None:
    """Let the garbage collector of the forks skip what was imported."""
    gc.collect()
    gc.freeze()
