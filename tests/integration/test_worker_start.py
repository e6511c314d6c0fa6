"""A worker looks at the database when it starts."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url

from cadasta.workertoolbox.results import DatabaseUnavailable
from servers.access import BrokerAccess
from support.polling import wait_until
from support.statements import fetch
from support.worker_fleet import TIMEOUT_S, open_fleet

UNUSABLE = "no result can be stored"


def unusable(database: str, fault: str) -> str:
    """Return the URL of a database that cannot be used."""
    url = make_url(database)
    if fault == "unknown role":
        url = url.set(username="nobody", password="geheim")
    else:
        url = url.set(database="nothing")
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("pool", "fault"), [("prefork", "unknown role"), ("threads", "unknown database")]
)
def test_a_worker_says_once_that_it_cannot_use_the_database_and_runs_tasks(
    access: BrokerAccess, database: str, tmp_path: Path, pool: str, fault: str
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        broken = fleet.with_worker_database(unusable(database, fault))
        worker = stack.enter_context(
            broken.worker("-P", pool, "-c", "1", result_backend_max_retries=3)
        )
        worker.wait_for(UNUSABLE)
        task = fleet.publish(1)[0]
        worker.wait_for(f"{task.id}]: Failed operation _store_result. Retrying 0 more")
        worker.stop()

        assert worker.text.count(UNUSABLE) == 1
        assert "geheim" not in worker.text
        assert len(worker.text.splitlines()) < 200


def test_a_worker_that_requires_the_database_ends_without_it(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        broken = fleet.with_worker_database(unusable(database, "unknown database"))
        worker = stack.enter_context(broken.worker("-c", "1", result_db_required=True))
        wait_until(lambda: worker.exit_code is not None, timeout_s=TIMEOUT_S)

        assert worker.exit_code != 0
        assert worker.text.count(UNUSABLE) == 1
        assert "Traceback" not in worker.text


@pytest.mark.parametrize(
    ("pool", "is_required"), [("prefork", False), ("threads", True)]
)
def test_a_quiet_worker_looks_at_the_database_too(
    access: BrokerAccess,
    database: str,
    tmp_path: Path,
    pool: str,
    is_required: bool,
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        broken = fleet.with_worker_database(unusable(database, "unknown database"))
        worker = stack.enter_context(
            broken.command(
                *("-q", "worker", "-Q", "export", "-l", "INFO", "-P", pool, "-c", "1"),
                WORKERTOOLBOX_RESULT_DB_REQUIRED=str(is_required),
            )
        )
        if is_required:
            wait_until(lambda: worker.exit_code is not None, timeout_s=TIMEOUT_S)
        else:
            worker.wait_for("ready.")
            worker.wait_for(UNUSABLE)

        assert worker.text.count(UNUSABLE) == 1
        assert "Traceback" not in worker.text
        assert worker.exit_code != 0


def test_a_usable_database_is_not_mentioned_and_gets_the_version_of_the_service(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        settings = {"result_db_required": True, "service_version": "1.4.0"}
        worker = stack.enter_context(fleet.worker("-c", "1", **settings))
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)

        assert UNUSABLE not in worker.text
        releases = fetch(database, "SELECT service, version FROM workertoolbox_release")
        assert releases == [("result_service", "1.4.0")]


def test_get_raises_an_error_of_ours_within_its_timeout(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with open_fleet(access, unusable(database, "unknown role"), tmp_path) as fleet:
        task = fleet.publish(1)[0]
        began_at = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="nobody") as caught:
            task.get(timeout=1)

        assert time.monotonic() - began_at < 8
        assert "geheim" not in str(caught.value)
