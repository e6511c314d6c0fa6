"""Rollups of ended tasks by the minute, hour and day."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, update

from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.tables import backlog, rollup
from cadasta.workertoolbox.results._history.histogram import Histogram
from cadasta.workertoolbox.results._history.rollup import (
    add_contributions,
    delete_old_intervals,
)
from cadasta.workertoolbox.results._history.tally import Columns, Contribution, Tally
from cadasta.workertoolbox.results._history.tiers import KEEP, TIERS, interval_start

#: The middle of a minute, of an hour and of a recent day.
NOON = datetime.now(UTC).replace(hour=12, minute=30, second=30) - timedelta(days=2)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(database_url(url))
    yield engine
    engine.dispose()


def contribution(**values: Any) -> Contribution:
    defaults = {"queue": "export", "status": "SUCCESS", "finished_at": NOON}
    return Contribution(**{"name": "export.project", **defaults, **values})


def random_contributions(seed: int, number: int) -> list[Contribution]:
    rng = random.Random(seed)
    return [
        contribution(
            name=rng.choice(["export.project", "export.site", ""]),
            status=rng.choice(["SUCCESS", "FAILURE", "RETRY"]),
            finished_at=NOON + timedelta(hours=rng.uniform(-30, 30)),
            retries=rng.randrange(3),
            redeliveries=rng.randrange(2),
            waited_s=rng.choice([None, 0, -1, rng.lognormvariate(0, 3)]),
            ran_s=rng.choice([None, rng.lognormvariate(0, 3)]),
            took_s=rng.choice([None, rng.lognormvariate(1, 3)]),
            error_group=rng.choice(["", "timeout"]),
        )
        for _ in range(number)
    ]


def change(
    engine: Engine, contributions: Sequence[Contribution], sign: Any = 1
) -> None:
    with engine.begin() as connection:
        add_contributions(connection, contributions, sign)


def stored(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        rows = connection.execute(select(rollup)).all()
    return sorted(map(tuple, rows))


def totals(engine: Engine, tier: str) -> Tally:
    return Tally.merge(
        [
            Tally.from_columns(Columns(*row[6:]))
            for row in stored(engine)
            if row[0] == tier
        ]
    )


def test_each_tier_counts_every_task_once(engine: Engine) -> None:
    contributions = random_contributions(1, 500)
    change(engine, contributions[:200])
    change(engine, contributions[200:])
    ended = [each for each in contributions if each.status != "RETRY"]
    expected = Tally(
        len(ended),
        sum(each.retries for each in ended) + len(contributions) - len(ended),
        sum(each.redeliveries for each in ended),
        Histogram.of(each.waited_s for each in ended if each.waited_s is not None),
        Histogram.of(each.ran_s for each in ended if each.ran_s is not None),
        Histogram.of(each.took_s for each in ended if each.took_s is not None),
    )

    assert [totals(engine, tier) for tier in TIERS] == [expected] * 3


def test_the_rows_do_not_depend_on_the_batches(url: str, engine: Engine) -> None:
    contributions = random_contributions(2, 300)
    change(engine, contributions)
    together = stored(engine)
    change(engine, contributions, -1)
    for start in range(0, 300, 50):
        change(engine, contributions[start : start + 50])

    assert stored(engine) == together


def test_subtracting_restores_the_former_rows(engine: Engine) -> None:
    change(engine, random_contributions(3, 200))
    before = stored(engine)
    more = random_contributions(4, 200)
    change(engine, more)
    added = stored(engine)
    change(engine, more, -1)

    assert len(added) > len(before)
    assert stored(engine) == before


def test_a_row_belongs_to_the_interval_in_which_the_task_ended(engine: Engine) -> None:
    change(engine, [contribution()])
    minute = NOON.replace(second=0, microsecond=0)
    hour = minute.replace(minute=0)

    assert [row[:6] for row in stored(engine)] == [
        (tier, at, "export.project", "export", "SUCCESS", "")
        for tier, at in (
            ("day", hour.replace(hour=0)),
            ("hour", hour),
            ("minute", minute),
        )
    ]


def test_an_attempt_that_was_retried_counts_as_a_retry_only(engine: Engine) -> None:
    attempt = contribution(status="RETRY", error_group="timeout", ran_s=1, waited_s=1)
    change(engine, [attempt, attempt._replace(retries=5)])

    assert totals(engine, "day") == Tally(retries=2)


def test_a_missing_contribution_is_not_subtracted(engine: Engine) -> None:
    change(engine, [contribution(ran_s=1)])
    before = stored(engine)
    change(engine, [contribution(name="export.site")], -1)

    assert stored(engine) == before


def test_intervals_past_their_retention_are_left_out(engine: Engine) -> None:
    old = contribution(finished_at=NOON - timedelta(days=8))
    change(engine, [old, old])

    assert {row[0] for row in stored(engine)} == {"hour", "day"}


@pytest.mark.parametrize("limit", [3, 4])
def test_old_intervals_are_deleted_in_steps(engine: Engine, limit: int) -> None:
    first = interval_start(datetime.now(UTC) - timedelta(days=1), TIERS["minute"])
    change(
        engine,
        [
            contribution(name=name, finished_at=first + timedelta(minutes=minute))
            for minute in range(10)
            for name in ("export.project", "export.site")
        ],
    )
    now = first + KEEP["minute"] + timedelta(minutes=7, seconds=1)
    steps = []
    with engine.begin() as connection:
        while deleted := delete_old_intervals(connection, now, limit=limit):
            steps.append(deleted)
    left = [row for row in stored(engine) if row[0] == "minute"]

    assert steps == [4, 4, 4, 4]
    assert len(left) == 4
    assert totals(engine, "hour").count == totals(engine, "day").count == 20


UNREADABLE = [{"waits": "nonsense"}, {"count": 2**62 + 1}, {"redeliveries": 2**62 + 1}]


def damage(engine: Engine, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(update(rollup).values(values))


@pytest.mark.parametrize("damaged", UNREADABLE)
def test_figures_that_cannot_be_read_begin_at_zero_again(
    engine: Engine, caplog: pytest.LogCaptureFixture, damaged: dict[str, Any]
) -> None:
    change(engine, [contribution(retries=3, waited_s=1)])
    damage(engine, **damaged)
    change(engine, [contribution(waited_s=2)])
    expected = Tally(1, waits=Histogram.of([2]))

    assert [totals(engine, tier) for tier in TIERS] == [expected] * 3
    assert {record.levelname for record in caplog.records} == {"ERROR"}
    hour = f"{NOON:%Y-%m-%dT%H}:00+00:00"
    [message] = [text for text in caplog.messages if f" {hour} " in text]
    assert message.startswith(
        f"figures of hour {hour} (export.project, export, SUCCESS) cannot be read and "
        "begin at zero again: "
    )
    reasons = {text.partition("again: ")[2] for text in caplog.messages}
    assert len(reasons) == 1 and not reasons & {"", "None"}
    if "waits" not in damaged:
        assert reasons == {f"{2**62 + 1} is too large"}


@pytest.mark.parametrize("damaged", UNREADABLE)
def test_figures_that_cannot_be_read_are_deleted_by_a_subtraction(
    engine: Engine, caplog: pytest.LogCaptureFixture, damaged: dict[str, Any]
) -> None:
    change(engine, [contribution()] * 2)
    damage(engine, **damaged)
    change(engine, [contribution()], -1)

    assert stored(engine) == []
    assert len(caplog.records) == 3
    assert "(export.project, export, SUCCESS)" in caplog.messages[0]
    assert not caplog.messages[0].endswith(("again: ", "again: None"))


def test_the_largest_count_is_read(engine: Engine) -> None:
    change(engine, [contribution()])
    damage(engine, count=2**62)
    change(engine, [contribution()])

    assert totals(engine, "day").count == 2**62 + 1


def test_rows_of_retries_stay_until_nothing_is_counted(engine: Engine) -> None:
    change(engine, [contribution(status="RETRY")] * 2 + [contribution()])
    change(engine, [contribution(status="RETRY"), contribution()], -1)
    left = {(row[0], row[4]) for row in stored(engine)}
    change(engine, [contribution(status="RETRY")], -1)

    assert left == {(tier, "RETRY") for tier in TIERS}
    assert stored(engine) == []


def test_the_retention_of_each_tier_can_be_given(engine: Engine) -> None:
    keep = {"minute": timedelta(days=3), "hour": timedelta(days=1), "day": timedelta(0)}
    with engine.begin() as connection:
        add_contributions(connection, [contribution()], keep=keep)
    kept = {row[0] for row in stored(engine)}
    change(engine, [contribution(name="export.site")])
    with engine.begin() as connection:
        deleted = delete_old_intervals(connection, datetime.now(UTC), keep=keep)

    assert kept == {"minute"}
    assert deleted == 2
    assert {row[0] for row in stored(engine)} == {"minute"}


def test_old_intervals_of_the_backlog_are_deleted_too(engine: Engine) -> None:
    now = datetime.now(UTC)
    row = {each.name: 0 for each in backlog.c} | {"queue": "export", "tier": "minute"}
    oldest = now - KEEP["minute"]
    with engine.begin() as connection:
        for at in (oldest, oldest - timedelta(seconds=1)):
            connection.execute(insert(backlog).values({**row, "at": at}))
        deleted = delete_old_intervals(connection, now)
        left = connection.execute(select(backlog.c.at)).scalars().all()

    assert deleted == 1
    assert left == [oldest]
