"""Groups of errors by state, time and name, with their errors by the hour."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert

from cadasta.workertoolbox.results import ErrorGroupNotFound, TaskStore
from cadasta.workertoolbox.results._database.tables import error_group
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._store.errors.groups import STATES

HOUR = timedelta(hours=1)


def add_errors(
    store: TaskStore, group: str, *instants: datetime, name: str = "a", retries: int = 0
) -> None:
    """Store a group with failures, and retries before the last of them."""
    last_at = max(instants)
    row = {
        **{"id": group, "version": 1, "name": name, "sample": f"{group} failed"},
        **{"first_at": min(instants), "last_at": last_at, "retries": retries},
        **{"count": len(instants) + retries, "state": "open"},
    }
    failures = [
        Contribution(name, "export", "FAILURE", at, error_group=group)
        for at in instants
    ]
    retry = Contribution(name, "export", "RETRY", last_at, 1, error_group=group)
    with store.engine.begin() as connection:
        connection.execute(insert(error_group).values(**row))
        add_contributions(connection, [*failures, *[retry] * retries])


def ids(store: TaskStore, **filters: object) -> list[str]:
    return [each.id for each in store.error_groups(**filters)]  # type: ignore[arg-type]


def test_groups_are_found_by_the_time_of_their_last_error_and_by_name(
    store: TaskStore,
    now: datetime,
) -> None:
    hour = now.replace(minute=0, second=0)
    add_errors(store, "1:a", hour - 3 * HOUR)
    add_errors(store, "1:b", hour - 30 * HOUR, hour, name="b")
    with store.engine.begin() as connection:
        other = Contribution("b", "export", "RETRY", now, error_group="1:a")
        add_contributions(connection, [other])

    assert ids(store) == ["1:b", "1:a"]
    assert ids(store, since=hour - 2 * HOUR) == ["1:b"]
    assert ids(store, name="a") == ["1:a"]
    assert ids(store, name="b") == ["1:b", "1:a"]
    assert ids(store, name="b", state="new") == ["1:a"]
    assert ids(store, name="c") == []


def test_a_group_has_the_errors_of_each_of_the_last_24_hours(
    store: TaskStore, now: datetime
) -> None:
    hour = now.replace(minute=0, second=0)
    add_errors(
        store,
        "1:a",
        *(hour - 24 * HOUR, hour - 23 * HOUR),
        *(hour - 1 * HOUR, hour - 0.9 * HOUR, hour),
        retries=3,
    )
    add_errors(store, "1:b", hour - 2 * HOUR)
    found = {each.id: each.recent for each in store.error_groups()}

    assert found["1:a"] == [1, *[0] * 21, 2, 4]
    assert found["1:b"] == [*[0] * 21, 1, 0, 0]
    assert store.error_group("1:a").recent == found["1:a"]


def test_groups_are_counted_by_state(store: TaskStore, now: datetime) -> None:
    add_errors(store, "1:a", now - HOUR)
    add_errors(store, "1:b", now - HOUR)
    add_errors(store, "1:c", now - 30 * HOUR)
    store.ignore_error_group("1:a")

    assert store.count_error_groups() == {
        **dict.fromkeys(STATES, 0),
        **{"new": 1, "ongoing": 1, "ignored": 1},
    }


def test_a_group_has_its_share_of_the_recent_runs_of_its_tasks(
    store: TaskStore, now: datetime
) -> None:
    hour = now.replace(minute=0, second=0)
    add_errors(store, "1:a", hour - 2 * HOUR, hour, retries=3)
    add_errors(store, "1:b", hour - 30 * HOUR)
    others = [
        *[Contribution("a", "export", "SUCCESS", hour)] * 4,
        *[Contribution("a", "export", "SUCCESS", hour - 24 * HOUR)] * 7,
        *[Contribution("b", "export", "SUCCESS", hour)] * 10,
        Contribution("b", "export", "FAILURE", hour, error_group="1:a"),
    ]
    with store.engine.begin() as connection:
        add_contributions(connection, others)
    found = {each.id: each for each in store.error_groups()}

    # Two failures, three retries and four successes of `a`; eleven runs of `b`.
    assert (sum(found["1:a"].recent), found["1:a"].recent_runs) == (6, 20)
    assert found["1:a"].recent_share == 0.3
    assert (found["1:b"].recent_runs, found["1:b"].recent_share) == (0, None)


def test_a_group_is_found_by_its_key(store: TaskStore, now: datetime) -> None:
    add_errors(store, "1:a", now)

    assert store.error_group("1:a") == store.error_groups()[0]
    with pytest.raises(ErrorGroupNotFound, match="1:c"):
        store.error_group("1:c")


def test_the_errors_of_a_group_are_counted_by_name(
    store: TaskStore, now: datetime
) -> None:
    add_errors(store, "1:a", now - 2 * HOUR, now - HOUR)
    add_errors(store, "1:b", now - HOUR, name="b")
    table = store.stats(since=now - 3 * HOUR, by="name", error_group="1:a")

    assert [(row.value, row.now.count) for row in table.rows] == [("a", 2)]
