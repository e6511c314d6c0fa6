"""A missing client of a broker is one error that says what to install."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
from celery import Celery

from cadasta.workertoolbox.routing import MissingExtra, Routing

#: The modules of each transport, and a library without which it cannot be loaded.
TRANSPORTS = [
    ("redis://", "redis", ("redis", "redis.exceptions")),
    ("redis://", "redis", ("packaging", "packaging.version")),
    ("rediss://", "redis", ("redis", "redis.exceptions")),
    ("sentinel://", "redis", ("redis", "redis.exceptions")),
    ("sqs://", "sqs", ("boto3",)),
    ("sqs://", "sqs", ("botocore", "botocore.exceptions")),
    ("sqla+postgresql://", "postgresql", ("sqlalchemy",)),
]


def distribution() -> str:
    """Return the distribution that a service installs here."""
    try:
        version("workertoolbox-conf")
    except PackageNotFoundError:
        return "workertoolbox-routing"
    return "workertoolbox-conf"


@pytest.fixture
def without_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the modules of the transports, so that they are imported again."""
    for name in [*sys.modules]:
        if ".transports." in name or name.startswith("kombu.transport."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("kombu.transport._transport_cache", {})


@pytest.mark.usefixtures("without_modules")
@pytest.mark.parametrize(("url", "extra", "missing"), TRANSPORTS)
def test_a_missing_client_is_an_error_that_names_the_extra(
    url: str, extra: str, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in missing:
        # With None here, an import raises the same error as without the library.
        monkeypatch.setitem(sys.modules, module, None)
    app = Celery("web", set_as_current=False)
    app.config_from_object(Routing(["export"], broker_url=url))

    with pytest.raises(MissingExtra) as raised:
        app.send_task("export.project")

    assert f'pip install "{distribution()}[{extra}]"' in str(raised.value)
