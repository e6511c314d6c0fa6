"""Options of the shared suite that keep it short.

Files start in an order in which parallel processes end together, and the processes that
tests start do not import what they do not use.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: Modules that processes import instead of larger ones.
STARTUP = str(Path(__file__).parent / "support" / "startup")

#: Files that take a minute or longer on two busy cores, the longest ones first. One
#: process runs a file: a long one that starts late keeps it busy when the others end.
LONG_FILES = (
    "test_conformance.py",
    "test_faults.py",
    "test_upgrade_rehearsal.py",
    "test_fuzzing.py",
    "test_why.py",
    "test_monitor.py",
    "test_documented_grants.py",
    "test_broker_urls.py",
    "test_rerun.py",
    "test_hostile_messages.py",
    "test_queries.py",
    "test_pools.py",
    "test_web_pages.py",
    "test_web_browser.py",
    "test_refusing_databases.py",
    "test_forks.py",
    "test_poisonous_messages.py",
    "test_refusals.py",
    "test_redelivery.py",
    "test_destinations.py",
    "test_rabbitmq_alarms.py",
    "test_profiles.py",
    "test_check_command.py",
    "test_ignored_tasks.py",
    "test_export_example.py",
    "test_sqs.py",
    "test_commands.py",
    "test_check_other_copies.py",
    "test_database_outages.py",
    "test_monitor_memory.py",
    "test_redaction.py",
)


def pytest_configure() -> None:
    """Let the processes that tests start find the smaller modules first."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    # The parallel processes of pytest inherit it.
    path = [STARTUP, *(each for each in inherited if each not in ("", STARTUP))]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long files first, and the others in the order of their names."""
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
