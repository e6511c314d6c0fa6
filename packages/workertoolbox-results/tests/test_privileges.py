"""The privileges that each role needs."""

from __future__ import annotations

import pytest

from cadasta.workertoolbox.results import ROLE_PRIVILEGES
from cadasta.workertoolbox.results._database.schema import VERSION_TABLE
from cadasta.workertoolbox.results._database.tables import metadata
from cadasta.workertoolbox.results._database.view import live, tasks, tracked

SEQUENCES = {
    "task_id_sequence",
    "taskset_id_sequence",
    "workertoolbox_quarantine_id_seq",
}
FUNCTIONS = {
    "workertoolbox_add_day",
    "workertoolbox_analyze_history",
    "workertoolbox_drop_day",
}
FIGURE_VIEWS = {
    "workertoolbox_error_groups",
    "workertoolbox_figures",
    "workertoolbox_queues",
    "workertoolbox_schedules",
}
VIEWS = FIGURE_VIEWS | {tasks.name, live.name, tracked.name}
OTHER_RELATIONS = SEQUENCES | FUNCTIONS | VIEWS | {VERSION_TABLE}


@pytest.mark.parametrize("role", sorted(ROLE_PRIVILEGES))
def test_a_role_needs_only_privileges_that_can_be_granted(role: str) -> None:
    for relation, action in ROLE_PRIVILEGES[role]:
        name, _, column = action.partition(" ")

        assert relation in metadata.tables or relation in OTHER_RELATIONS
        assert (name == "USAGE") == (relation in SEQUENCES)
        assert (name == "EXECUTE") == (relation in FUNCTIONS)
        assert name in {"SELECT", "INSERT", "UPDATE", "DELETE", "USAGE", "EXECUTE"}
        assert not column or column.strip("()") in metadata.tables[relation].columns


def test_some_role_needs_each_table() -> None:
    needed = {relation for each in ROLE_PRIVILEGES.values() for relation, _ in each}

    assert needed == set(metadata.tables) | OTHER_RELATIONS


def test_only_roles_that_delete_tasks_or_results_may_delete_them() -> None:
    for table, roles in (
        ("celery_taskmeta", {"worker", "monitor", "purger"}),
        ("workertoolbox_task", {"monitor", "purger"}),
        ("workertoolbox_history", {"monitor", "purger"}),
    ):
        holders = {
            role
            for role, privileges in ROLE_PRIVILEGES.items()
            if (table, "DELETE") in privileges
        }

        assert holders == roles
