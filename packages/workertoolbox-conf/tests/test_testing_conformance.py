"""What `conformance` says of services, in a run of pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

SERVICES = Path(__file__).parent / "services"

TESTS = """\
from broken import failing, fail
from celery import signature
from cadasta.workertoolbox.conf.testing import conformance
from sound import app

TestSound = conformance(
    "sound:app", run=[signature("export.double", (21,)), signature("export.forget")]
)
TestSoundAgain = conformance("sound")
TestTypo = conformance("broken:typo")
TestRerouted = conformance("broken:rerouted", timeout_s=2)
TestPickling = conformance("broken:pickling")
TestGreedy = conformance("broken:greedy", timeout_s=2)
TestFailing = conformance(failing, run=[fail.s()])
TestPlain = conformance("broken:plain")
TestMissing = conformance("no_such_module:app")

def test_the_app_is_as_it_was():
    assert [name for name in app.tasks if "conformance" in name] == []
    assert app.conf.broker_url == "amqp://nobody:secret@127.0.0.1:1//"
"""

#: Others of one service would but wait for what does not come.
SELECTION = "not TestRerouted or test_every_task or test_a_chain"

#: The number of tests without those of a service's own tasks.
COUNT = 12

#: Of each broken service, a test that fails, and what it says.
FAILURES = [
    (
        "TestTypo",
        "test_every_task_goes_to_a_declared_queue",
        "task 'export.report': queue 'exprot' is not declared; did you mean 'export'?",
    ),
    (
        "TestRerouted",
        "test_every_task_goes_to_a_declared_queue",
        "give routes to Config(task_routes=…), and do not set them later",
    ),
    (
        "TestRerouted",
        "test_a_chain_is_tracked",
        "a worker says SUCCESS, and no monitor saw a message of it",
    ),
    (
        "TestPickling",
        "test_tasks_and_results_are_json",
        "accept_content=['json', 'pickle']: the monitor reads JSON only; leave it out",
    ),
    (
        "TestPickling",
        "test_tasks_and_results_are_json",
        "task 'export.pickled' has serializer 'pickle': the monitor reads JSON only",
    ),
    (
        "TestGreedy",
        "test_a_worker_consumes_all_queues_but_the_monitors",
        "it consumes 'platform.fifo'",
    ),
    (
        "TestFailing",
        "test_a_task_of_the_service_succeeds_and_is_tracked[export.fail]",
        "ended with FAILURE, and not SUCCESS: {'exc_type': 'ValueError', "
        "'exc_message': ['out of paper']",
    ),
    (
        "TestPlain",
        "test_a_chain_is_tracked",
        "app 'plain' is not configured with the toolbox",
    ),
    (
        "TestMissing",
        "test_a_chain_is_tracked",
        "No module named 'no_such_module'",
    ),
]

Outcomes = dict[str, dict[str, str | None]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What every test of every service says, or None where it passes."""
    folder = tmp_path_factory.mktemp("services")
    (folder / "test_services.py").write_text(TESTS, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    path = os.pathsep.join([str(SERVICES), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-k", SELECTION, "--junitxml=report.xml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes: Outcomes = {}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        service = case.attrib["classname"].rpartition(".")[2]
        said = "".join(part.text or "" for part in case if part.tag != "system-out")
        outcomes.setdefault(service, {})[case.attrib["name"]] = said or None
    return outcomes


def _failed(tests: dict[str, str | None]) -> dict[str, str]:
    return {name: said for name, said in tests.items() if said is not None}


@pytest.mark.parametrize(("service", "own"), [("TestSound", 2), ("TestSoundAgain", 0)])
def test_a_sound_service_passes(outcomes: Outcomes, service: str, own: int) -> None:
    assert _failed(outcomes[service]) == {}
    assert len(outcomes[service]) == COUNT + own


def test_nothing_is_left_in_a_service(outcomes: Outcomes) -> None:
    assert outcomes["test_services"] == {"test_the_app_is_as_it_was": None}


@pytest.mark.parametrize(("service", "test", "message"), FAILURES)
def test_a_broken_service_is_told_what_is_wrong(
    outcomes: Outcomes, service: str, test: str, message: str
) -> None:
    said = outcomes[service][test]

    assert said is not None
    assert message in said


@pytest.mark.parametrize(
    ("service", "count"), [("TestTypo", 1), ("TestPickling", 1), ("TestFailing", 1)]
)
def test_one_mistake_fails_one_test(
    outcomes: Outcomes, service: str, count: int
) -> None:
    assert len(_failed(outcomes[service])) == count


def test_a_worker_that_takes_copies_for_work_runs_tasks_twice(
    outcomes: Outcomes,
) -> None:
    said = outcomes["TestGreedy"]["test_no_task_is_run_twice"]

    assert said is not None
    assert "with 0 retries behind it, was run 2 times" in said
