"""Run a service in its own tests, with a real worker and monitor, without a server.

In `conftest.py`:

pytest_plugins = ["cadasta.workertoolbox.conf.testing"]

and in a test:

from cadasta.workertoolbox.conf.testing import assert_tracked, conformance

TestService = conformance("proj.app:app")

def test_a_report_is_written(toolbox_app, toolbox_worker, toolbox_monitor):
    result = report.delay(2026)
    assert result.get(timeout=10) == "report-2026.csv"
    assert_tracked(toolbox_app, result)

It needs pytest: `pip install "workertoolbox-conf[testing]"`.
"""

from cadasta.workertoolbox.conf.testing._conformance import conformance
from cadasta.workertoolbox.conf.testing._embedding import embedded
from cadasta.workertoolbox.conf.testing._errors import WorkerFailed
from cadasta.workertoolbox.conf.testing._fixtures import (
    pytest_addoption,
    toolbox_app,
    toolbox_monitor,
    toolbox_service,
    toolbox_settings,
    toolbox_store,
    toolbox_worker,
    toolbox_worker_options,
)
from cadasta.workertoolbox.conf.testing._monitor import running_monitor
from cadasta.workertoolbox.conf.testing._tracking import assert_tracked
from cadasta.workertoolbox.conf.testing._worker import running_worker

__all__ = [
    "WorkerFailed",
    "assert_tracked",
    "conformance",
    "embedded",
    "pytest_addoption",
    "running_monitor",
    "running_worker",
    "toolbox_app",
    "toolbox_monitor",
    "toolbox_service",
    "toolbox_settings",
    "toolbox_store",
    "toolbox_worker",
    "toolbox_worker_options",
]
