"""The names that are slowest, fail most, and have changed most."""

from __future__ import annotations

import pytest
from contributions import HOUR, MIDNIGHT, MINUTE

from cadasta.workertoolbox.results import StatsTable, TaskStore
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results.web.wording.rankings import (
    most_changed,
    most_failing,
    slowest,
)


@pytest.fixture
def add(store: TaskStore) -> Add:
    return Add(store)


class Add:
    """Stores ended tasks of the last hour before midnight, or of the hour before it."""

    def __init__(self, store: TaskStore) -> None:
        self.store = store
        # Only a window that begins after the first task is compared.
        self("old", 1, at=MIDNIGHT - 3 * HOUR)

    def __call__(
        self,
        name: str,
        count: int,
        *,
        failed: int = 0,
        ran_s: float = 1.0,
        waited_s: float = 1.0,
        before: bool = False,
        at: object = None,
    ) -> None:
        ended = MIDNIGHT - (90 if before else 30) * MINUTE
        with self.store.engine.begin() as connection:
            add_contributions(
                connection,
                [
                    Contribution(
                        name=name,
                        queue="export",
                        status="FAILURE" if number < failed else "SUCCESS",
                        finished_at=at or ended,  # type: ignore[arg-type]
                        ran_s=ran_s,
                        waited_s=waited_s,
                    )
                    for number in range(count)
                ],
            )

    def table(self) -> StatsTable:
        return self.store.stats(
            since=MIDNIGHT - HOUR, until=MIDNIGHT, by="name", gone=True
        )


def test_the_slowest_names_are_sorted_by_run_time(add: Add) -> None:
    for name, ran_s in (("a", 2), ("b", 30), ("c", 0.1)):
        add(name, 1, ran_s=ran_s)

    assert [row.value for row in slowest(add.table(), 2)] == ["b", "a"]


def test_names_without_failures_are_not_among_the_most_failing(add: Add) -> None:
    add("a", 10, failed=2)
    add("b", 4, failed=3)
    add("c", 9)

    assert [row.value for row in most_failing(add.table(), 5)] == ["b", "a"]


def test_changes_are_sorted_by_their_ratio(add: Add) -> None:
    add("busy", 200, before=True)
    add("busy", 400)
    add("gone", 40, before=True)
    add("failing", 100, failed=1, before=True)
    add("failing", 100, failed=25)
    add("faster", 100, ran_s=10, before=True)
    add("faster", 100, ran_s=1)
    add("waiting", 100, waited_s=0.5, before=True)
    add("waiting", 100, waited_s=2)
    found = most_changed(add.table(), 10)

    # Durations are only known within 2 %.
    assert [(each.name, each.title, each.is_worse) for each in found] == [
        ("gone", "tasks", None),
        ("failing", "failed", True),
        ("faster", "run time, p95", False),
        ("waiting", "wait, p95", True),
        ("busy", "tasks", None),
    ]
    assert [(each.before, each.now, each.change.text) for each in found[:2]] == [
        ("40", "0", "▼ 100 %"),
        ("1.0 %", "25.0 %", "▲ 25×"),
    ]


def test_what_chance_explains_is_not_a_change(add: Add) -> None:
    add("few", 3, before=True)
    add("few", 9, ran_s=20, waited_s=20)
    add("many", 1000, failed=3, before=True)
    add("many", 1100, failed=9, ran_s=1.1, waited_s=1.02)
    add("quick", 200, ran_s=0.001, before=True)
    add("quick", 200, ran_s=0.004)

    assert most_changed(add.table(), 10) == []


def test_without_a_window_before_nothing_has_changed(store: TaskStore) -> None:
    table = store.stats(since=MIDNIGHT - HOUR, until=MIDNIGHT, by="name", gone=True)

    assert most_changed(table, 10) == []
