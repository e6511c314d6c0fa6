"""The fixtures, in a separate project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cadasta.workertoolbox.conf import testing

SERVICES = Path(__file__).parent / "services"

CONFTEST = """\
pytest_plugins = ["cadasta.workertoolbox.conf.testing"]
"""

INI = """\
[pytest]
filterwarnings = error
addopts = --strict-config -p no:cacheprovider
"""

SERVICE = "toolbox_service = conforming:app\n"

PASSING = """\
import threading

import pytest
from conforming import app, double

from cadasta.workertoolbox.conf.testing import assert_tracked

folders = []


@pytest.fixture(scope="session")
def toolbox_settings():
    return {"task_acks_late": False}


@pytest.fixture(scope="session")
def toolbox_worker_options():
    return {"pool": "threads", "concurrency": 2}


def test_a_task_is_run_and_tracked(toolbox_app, toolbox_worker, toolbox_monitor):
    assert toolbox_app is app
    result = double.delay(21)

    assert result.get(timeout=10) == 42
    assert_tracked(app, result)


def test_fixtures_of_the_project_are_used(toolbox_app, toolbox_worker):
    assert toolbox_app.conf.task_acks_late is False
    assert toolbox_worker.concurrency == 2


def test_the_store_is_empty_in_each_test(toolbox_store):
    assert toolbox_store.list() == []


def test_without_fixtures_nothing_runs_and_the_app_is_unchanged():
    assert app.conf.task_acks_late is True
    assert app.conf.broker_url.startswith("amqp://")
    threads = [thread.name for thread in threading.enumerate()]
    assert [name for name in threads if name.startswith("toolbox")] == []


@pytest.mark.usefixtures("toolbox_worker", "toolbox_monitor")
class TestTogether:
    def test_first(self, toolbox_app):
        result = double.delay(1)
        assert result.get(timeout=10) == 2
        assert_tracked(toolbox_app, result)

    def test_second(self, toolbox_store):
        [task] = toolbox_store.list()
        assert task.result == 2
"""

NOT_SET = """\
def test_a_service_that_is_not_set(toolbox_app):
    pass
"""

FAILING = """\
import threading

from conforming import app, double


def test_failing(toolbox_app, toolbox_worker, toolbox_monitor):
    double.delay(1)
    assert False, "on purpose"


def test_the_app_is_restored():
    threads = [thread.name for thread in threading.enumerate()]
    assert [name for name in threads if name.startswith("toolbox")] == []
    assert app.conf.broker_url.startswith("amqp://")
"""


def _run(folder: Path, tests: str, *, ini: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST, "utf-8")
    (folder / "pytest.ini").write_text(ini, "utf-8")
    (folder / "test_project.py").write_text(tests, "utf-8")
    path = os.pathsep.join([str(SERVICES), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_service_runs_for_real_in_its_own_tests(tmp_path: Path) -> None:
    done = _run(tmp_path, PASSING, ini=INI + SERVICE)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_the_error_says_how_to_set_the_service(tmp_path: Path) -> None:
    done = _run(tmp_path, NOT_SET, ini=INI)

    assert done.returncode == 1
    assert "write toolbox_service = proj.app:app in the" in done.stdout


def test_a_failing_test_leaves_nothing_behind(tmp_path: Path) -> None:
    done = _run(tmp_path, FAILING, ini=INI + SERVICE)

    assert "on purpose" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_all_names_everything_public_and_is_sorted() -> None:
    public = [
        name
        for name, value in vars(testing).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith(testing.__name__)
    ]

    assert testing.__all__ == sorted(public)


def test_conf_does_not_import_pytest() -> None:
    check = "import cadasta.workertoolbox.conf, sys; assert 'pytest' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
