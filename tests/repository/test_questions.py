"""Each output of `docs/how-to/questions.md` is that of its command.

The commands of the other documents run on the same fleet, with an id of a task of it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.bin.multi import MultiTool
from starlette.routing import Mount
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results.web import create_app
from support.documents import DOCUMENTS, ROOT, blocks, celery_commands
from support.questions_page import (
    Question,
    Screen,
    answer,
    masked,
    questions,
    read_page,
    run_celery,
    terminal,
)
from support.sample_night import sample_night

PAGE = read_page()
QUESTIONS = questions(PAGE)

#: Documents whose commands a test of their own runs.
TESTED = ("examples/export/README.md", "docs/tutorial.md", "docs/how-to/questions.md")

#: The commands of the others, after `celery`.
COMMANDS = [
    tuple(words)
    for name, file in DOCUMENTS.items()
    if name not in TESTED
    for words in celery_commands(file.read_text("utf-8"))
]
FOR_AN_APP = {words[2:] for words in COMMANDS if words[0] == "-A"} - {("tasks",)}

#: Commands that run until they are stopped, or need a broker, with their test.
ELSEWHERE = {
    "worker": "test_tutorial.py::test_the_tutorial_leads_to_what_it_shows",
    "tasks monitor": "test_tutorial.py::test_the_tutorial_leads_to_what_it_shows",
    "tasks web": "test_tutorial.py::test_the_tutorial_leads_to_what_it_shows",
    "tasks archive": (
        "test_commands.py::"
        "test_an_archiver_without_a_monitor_archives_until_it_is_stopped"
    ),
    "tasks adopt": (
        "packages/workertoolbox-conf/tests/test_adoption.py::"
        "test_the_command_prints_a_plan_and_changes_nothing"
    ),
    "tasks leave": (
        "test_leaving.py::"
        "test_the_monitor_queue_and_its_bindings_are_deleted_but_not_unread_copies"
    ),
    "amqp": "test_adopting.py::test_the_documented_command_deletes_the_exchange",
    "tasks check": (
        "test_check_command.py::"
        "test_a_healthy_fleet_passes_and_its_tasks_stay_in_their_queues"
    ),
}

#: Words that stand for the id of a task in a document.
ID = re.compile(r"ID|[0-9a-f]{8}-[0-9a-f-]{27}")

#: What a command begins with that finds trouble in this night, and its exit code.
TROUBLE = {
    "tasks why": 1,
    "tasks rerun --since": 1,  # No task matches.
    "tasks list --query queue:export stauts:failure": 2,
}


@dataclass(frozen=True)
class Fleet:
    """The fleet after a night, and the answers to the questions of the page."""

    folder: Path
    app: Celery
    answers: dict[str, str]

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        """Run a command; return its exit code and its output."""
        screen = Screen(is_terminal=False)
        with terminal(self.folder):
            code = run_celery(self.app, ["-A", "proj", *words], screen)
        return code, screen.text()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The fleet, whose questions are answered, each after the one before."""
    folder = tmp_path_factory.mktemp("fleet")
    with sample_night(folder) as app:
        page = answer(app, PAGE, folder)
        app.conf["RETENTION"] = {"default": "90d"}  # As in `database.md`.
        yield Fleet(folder, app, {each.title: each.text for each in questions(page)})


@pytest.fixture(scope="module")
def failed_id(fleet: Fleet) -> str:
    """A task of the fleet that failed."""
    with TaskStore.for_app(fleet.app) as store:
        return store.search("status:failure").tasks[0].id


def beginning_elsewhere(words: Sequence[str]) -> str:
    """Return the beginning of a command that another test runs, or ""."""
    command = " ".join(words[: 1 + (words[:1] == ("tasks",))])
    return command if command in ELSEWHERE and "--once" not in words else ""


def run_here() -> list[tuple[str, ...]]:
    """Return the commands that no other test runs."""
    return sorted(each for each in FOR_AN_APP if not beginning_elsewhere(each))


def expected_code(command: str) -> int:
    """Return the exit code of a command after this night."""
    found = (code for start, code in TROUBLE.items() if command.startswith(start))
    return 1 if command.endswith("--exit-code") else next(found, 0)


def test_the_page_has_forty_questions() -> None:
    numbers = [int(each.title.partition(".")[0]) for each in QUESTIONS]

    assert numbers == [*range(1, 41)]
    assert all("$ celery" in each.text for each in QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each.title)
def test_the_page_has_the_output_of_the_command(
    question: Question, fleet: Fleet
) -> None:
    assert masked(question.text) == masked(fleet.answers[question.title])


@pytest.mark.parametrize("words", run_here(), ids=" ".join)
def test_a_command_of_another_document_runs(
    words: tuple[str, ...], fleet: Fleet, failed_id: str
) -> None:
    known = [failed_id if ID.fullmatch(each) else each for each in words]
    code, text = fleet.run(["8" if each == "N" else each for each in known])

    assert code == expected_code(" ".join(words)), text


def test_the_address_of_the_api_answers(fleet: Fleet) -> None:
    text = DOCUMENTS["docs/how-to/web.md"].read_text("utf-8")
    [url] = re.findall(r"curl '(\S+)'", text)
    with TaskStore.for_app(fleet.app) as store, TestClient(create_app(store)) as client:
        answer = client.get(url)

    assert answer.status_code == 200, answer.text
    assert answer.text.count('"FAILURE"') == answer.text.count('"status"') > 0


def test_the_pages_can_be_mounted_in_an_application(fleet: Fleet) -> None:
    text = DOCUMENTS["docs/how-to/web.md"].read_text("utf-8")
    [code] = blocks(text, "python")
    url = repr(fleet.app.conf.result_backend)
    names: dict[str, Any] = {}
    exec(re.sub(r'"workertoolbox\+.*?"', url, code.text), names)
    with names["store"]:
        mounted = [each for each in names["app"].routes if isinstance(each, Mount)]

    assert [each.path for each in mounted] == ["/tasks"]


def test_the_code_that_runs_tasks_again_runs(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    text = DOCUMENTS["docs/how-to/rerunning.md"].read_text("utf-8")
    [code] = blocks(text, "python")
    exec(code.text.replace("export.*", "invoices.*"), {"app": fleet.app})

    assert re.search(rf"^{ID.pattern} published {ID.pattern}", capsys.readouterr().out)


def test_the_other_commands_are_run_by_another_test() -> None:
    started = {beginning_elsewhere(each) for each in FOR_AN_APP} - {""}

    assert started == {*ELSEWHERE}
    for file, _, name in (each.partition("::") for each in ELSEWHERE.values()):
        folder = ROOT if "/" in file else ROOT / "tests" / "integration"
        assert f"def {name}(" in (folder / file).read_text("utf-8")


def test_multi_starts_the_documented_workers() -> None:
    [words] = (each for each in COMMANDS if each[0] == "multi")
    screen = io.StringIO()
    shown = ["multi", "show", *words[2:]]
    code = MultiTool(stdout=screen).execute_from_commandline(shown)

    assert code == 0
    first, second = re.findall(r"-m celery (.*)", screen.getvalue())
    assert "-A proj worker" in first and "-Q export" in first
    assert "-Q msg" in second and "/run/celery/export2.pid" in second
