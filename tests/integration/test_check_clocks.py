"""`tasks check` when the clock of the database or the broker is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import botocore  # type: ignore[import-untyped]
import pytest
import redis as redis_client
from celery import Celery
from sqlalchemy import make_url

from support.checkups import run_check, with_database
from support.statements import execute


@pytest.mark.parametrize(
    ("skew_s", "status"), [(1, "ok"), (-5, "warning"), (90, "failed")]
)
def test_a_wrong_clock_of_the_database_is_reported(
    undeclared_app: Celery, database: str, skew_s: int, status: str
) -> None:
    name = make_url(database).database
    execute(
        database,
        "CREATE SCHEMA skewed",
        "CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        f" 'SELECT pg_catalog.clock_timestamp() + interval ''{skew_s} s'''",
        f"ALTER DATABASE {name} SET search_path = skewed, pg_catalog, public",
    )
    checked = run_check(with_database(undeclared_app, database))
    side = "ahead of" if skew_s > 0 else "behind"

    assert (
        f"{abs(skew_s)}.0 s {side}" in checked.details(status)["clock of the database"]
    )


def test_a_wrong_clock_of_redis_is_reported(
    declared_app: Callable[[str], Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = declared_app("redis")
    now = redis_client.Redis.time
    monkeypatch.setattr(
        redis_client.Redis, "time", lambda self: (now(self)[0] + 30, now(self)[1])
    )
    checked = run_check(app)

    assert "30.0 s ahead" in checked.details("warning")["clock of the broker"]


def test_a_wrong_clock_of_aws_is_reported(
    declared_app: Callable[[str], Celery],
) -> None:
    def delay(parsed: dict[str, Any], **_: object) -> None:
        headers = parsed["ResponseMetadata"]["HTTPHeaders"]
        date = parsedate_to_datetime(headers["date"]) - timedelta(minutes=3)
        headers["date"] = format_datetime(date)

    def install(session: Any) -> None:
        session.register("after-call.sqs", delay)

    app = declared_app("sqs")
    botocore.register_initializer(install)
    try:
        checked = run_check(app)
    finally:
        botocore.unregister_initializer(install)

    clock = checked.details("failed")["clock of the broker"]
    assert 179 <= float(clock.partition(" ")[0]) <= 181
    assert "behind" in clock
