"""The tests of `conformance` for several services, in a separate run of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cadasta.workertoolbox.conf.testing import conformance

SERVICES = Path(__file__).parent / "services"

TESTS = """\
from broken import failing, fail
from celery import signature
from cadasta.workertoolbox.conf.testing import conformance
from conforming import app

TestConforming = conformance(
    "conforming:app",
    run=[signature("export.double", (21,)), signature("export.forget")],
)
TestConformingAgain = conformance("conforming", skip=["test_a_group_is_tracked"])
TestTypo = conformance("broken:typo")
TestRerouted = conformance("broken:rerouted", timeout_s=2)
TestPickling = conformance("broken:pickling")
TestGreedy = conformance("broken:greedy", timeout_s=2)
TestFailing = conformance(failing, run=[fail.s()])
TestPlain = conformance("broken:plain")
TestMissing = conformance("no_such_module:app")

def test_the_app_is_restored():
    assert [name for name in app.tasks if "conformance" in name] == []
    assert app.conf.broker_url == "amqp://nobody:secret@127.0.0.1:1//"
"""

#: The other tests of `TestRerouted` would only wait for their timeouts.
SELECTION = "not TestRerouted or test_every_task or test_a_chain"

#: The number of tests, without those that run tasks of the service.
COUNT = 12

#: A test that fails for each broken service, and a part of its message.
FAILURES = [
    (
        "TestTypo",
        "test_every_task_goes_to_a_declared_queue",
        "task 'export.report': queue 'exprot' is not declared; did you mean 'export'?",
    ),
    (
        "TestRerouted",
        "test_every_task_goes_to_a_declared_queue",
        "queue 'exprot' is not declared; did you mean 'export'?",
    ),
    (
        "TestRerouted",
        "test_a_chain_is_tracked",
        "UnknownQueue",
    ),
    (
        "TestPickling",
        "test_tasks_and_results_are_json",
        "accept_content=['json', 'pickle']: the monitor reads JSON only; remove it",
    ),
    (
        "TestPickling",
        "test_tasks_and_results_are_json",
        "task 'export.pickled' has serializer 'pickle': the monitor reads JSON only",
    ),
    (
        "TestGreedy",
        "test_a_worker_consumes_all_queues_but_the_monitors",
        "the worker consumes 'platform.fifo'",
    ),
    (
        "TestFailing",
        "test_a_task_of_the_service_succeeds_and_is_tracked[export.fail]",
        "ended with FAILURE instead of SUCCESS: {'exc_type': 'ValueError', "
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
    """The message of each test of each service, or None if the test passes."""
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


@pytest.mark.parametrize(
    ("service", "count"),
    [("TestConforming", COUNT + 2), ("TestConformingAgain", COUNT - 1)],
)
def test_a_conforming_service_passes(
    outcomes: Outcomes, service: str, count: int
) -> None:
    assert _failed(outcomes[service]) == {}
    assert len(outcomes[service]) == count


def test_a_skipped_test_is_left_out(outcomes: Outcomes) -> None:
    assert "test_a_group_is_tracked" in outcomes["TestConforming"]
    assert "test_a_group_is_tracked" not in outcomes["TestConformingAgain"]


def test_skipping_a_test_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="did you mean 'test_a_chord_is_tracked'"):
        conformance("conforming", skip=["test_a_chord_is_trackd"])


def test_the_app_of_a_service_is_restored(outcomes: Outcomes) -> None:
    assert outcomes["test_services"] == {"test_the_app_is_restored": None}


@pytest.mark.parametrize(("service", "test", "message"), FAILURES)
def test_a_failure_names_the_mistake_of_a_broken_service(
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


def test_a_worker_that_consumes_copies_runs_tasks_twice(
    outcomes: Outcomes,
) -> None:
    said = outcomes["TestGreedy"]["test_no_task_is_run_twice"]

    assert said is not None
    assert " ran 2 times with retries=0" in said
