from __future__ import annotations

import pickle
import subprocess
import sys
from inspect import isclass

import pytest
from readme import README

from cadasta.workertoolbox import conf

ERRORS = [
    value
    for value in vars(conf).values()
    if isclass(value) and issubclass(value, conf.ConfError)
]


def test_all_lists_every_public_name_sorted() -> None:
    public = [
        name
        for name, value in vars(conf).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith(conf.__name__)
    ]

    assert conf.__all__ == sorted(public)


@pytest.mark.parametrize("name", conf.__all__)
def test_a_public_name_has_a_docstring(name: str) -> None:
    assert getattr(conf, name).__doc__


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_survives_pickling(error: type[Exception]) -> None:
    original = error("broker_url='x' cannot be used; set another one")
    copy = pickle.loads(pickle.dumps(original))

    assert type(copy) is error
    assert str(copy) == str(original)


@pytest.mark.parametrize("error", [e for e in ERRORS if e is not conf.ConfError])
def test_an_error_is_a_builtin_error_too(error: type[Exception]) -> None:
    builtin = error.__bases__[1]

    assert error.__bases__[0] is conf.ConfError
    assert builtin.__module__ == "builtins"
    assert builtin is not Exception
    assert f"| `{error.__name__}` | `{builtin.__name__}` | " in README.read_text()


#: Modules that a configured app does not need until it publishes or runs tasks.
UNNEEDED = {
    "alembic",
    "cadasta.workertoolbox.conf._starter",
    "cadasta.workertoolbox.conf.checkup",
    "cadasta.workertoolbox.conf.commands",
    "cadasta.workertoolbox.conf.testing",
    "celery.worker.request",
    "pytest",
    "rich",
    "sentry_sdk",
    "sqlalchemy",
}


def test_a_configuration_does_not_load_unneeded_modules() -> None:
    program = (
        "import sys\n"
        "from celery import Celery\n"
        "from cadasta.workertoolbox.conf import Config\n"
        "app = Celery('export')\n"
        "app.config_from_object(Config(['export']))\n"
        "app.conf.task_queues\n"
        f"print({UNNEEDED} & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], text=True, capture_output=True, check=True
    )

    assert done.stdout == "set()\n"
