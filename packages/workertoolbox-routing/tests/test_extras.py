"""A missing client of a broker is one error that says what to install."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

#: Publishes a task in a process without some modules: with None in `sys.modules`, an
#: import raises the same error as without the library.
PROGRAM = """
import sys
url, *missing = sys.argv[1:]
sys.modules.update(dict.fromkeys(missing))
from celery import Celery
from cadasta.workertoolbox.routing import Routing
app = Celery("web")
app.config_from_object(Routing(["export"], broker_url=url))
app.send_task("export.project")
"""


def distribution() -> str:
    """Return the distribution that a service installs here."""
    try:
        version("workertoolbox-conf")
    except PackageNotFoundError:
        return "workertoolbox-routing"
    return "workertoolbox-conf"


@pytest.mark.parametrize(
    ("url", "extra", "missing"),
    [
        ("redis://", "redis", "redis"),
        ("redis://", "redis", "packaging"),
        ("rediss://", "redis", "redis"),
        ("sentinel://", "redis", "redis"),
        ("sqs://", "sqs", "boto3"),
        ("sqs://", "sqs", "botocore"),
        ("sqla+postgresql://", "postgresql", "sqlalchemy"),
    ],
)
def test_a_missing_client_is_an_error_that_names_the_extra(
    url: str, extra: str, missing: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, missing], capture_output=True, text=True
    )
    *_, error = ended.stderr.splitlines()

    assert "MissingExtra: the client of the broker cannot be loaded: " in error
    assert f'run pip install "{distribution()}[{extra}]"' in error
