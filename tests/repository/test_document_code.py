"""The code, the commands and the settings in the documents are ones that exist."""

from __future__ import annotations

import ast
import json
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from celery import Celery
from celery.bin.base import CLIContext
from celery.bin.celery import celery
from starlette.testclient import TestClient

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results import upgrade
from support.checkups import ACTIONS, take_task_ids
from support.documents import (
    DOCUMENTS,
    ROOT,
    blocks,
    celery_commands,
    environments,
)

HOW_TO = ROOT / "docs" / "how-to"

#: Pages whose Python code runs without anything else.
RUNNING = ("adopting", "database", "rabbitmq", "redis", "sqs", "troubleshooting")

#: A file of the documentation that code or a message names, and a heading in it.
NAMED = re.compile(r"docs/[\w/.-]+\.md(?:#[\w-]+)?")


def texts(pattern: str) -> list[Any]:
    """Return the documents with something to test, as parameters."""
    return [
        pytest.param(text, id=name)
        for name, file in DOCUMENTS.items()
        if re.search(pattern, text := file.read_text("utf-8"))
    ]


@pytest.mark.parametrize("text", texts("```python\n"))
def test_python_code_compiles_and_its_imports_of_the_toolbox_work(text: str) -> None:
    for block in blocks(text, "python"):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and "cadasta" in (node.module or ""):
                module = import_module(str(node.module))
                missing = [e.name for e in node.names if not hasattr(module, e.name)]

                assert not missing


@pytest.mark.parametrize("text", texts("celery -A"))
def test_commands_and_their_options_exist(text: str) -> None:
    for words in celery_commands(text):
        parse(words)


def parse(words: Any) -> None:
    """Parse a command as Celery's command line does, without running it."""
    app = Celery("proj", set_as_current=False)
    # `N` stands for a number in a document, and a folder need not exist here.
    given = [
        "1" if word == "N" else re.sub(r"^/(run|tmp|etc)/.*", "file", word)
        for word in words
    ]
    context = celery.make_context("celery", given, resilient_parsing=True)
    context.obj = CLIContext(app=app, no_color=True, workdir=None)
    group: click.Command = celery
    while isinstance(group, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, found, rest = group.resolve_command(context, rest)
        assert found is not None
        if isinstance(found, click.Group) and not rest:
            return
        context = found.make_context(name, rest, parent=context)
        group = found


@pytest.mark.parametrize("text", texts("`tasks "))
def test_commands_without_celery_and_their_options_exist(text: str) -> None:
    for name, rest in re.findall(r"`tasks ([a-z]+)([^`]*)`", text):
        assert options_in(rest) <= options_of(name)


def test_the_table_of_commands_has_each_command_and_options_that_exist() -> None:
    text = DOCUMENTS["packages/workertoolbox-results/README.md"].read_text("utf-8")
    table = text.partition("| `celery -A proj tasks …` | does | options |")[2]
    rows = re.findall(r"\| `(\w+).* \|(.*)\|(?:\n|$)", table.partition("\n\n")[0])
    known = tasks_commands().list_commands(click.Context(tasks_commands()))

    # Those of conf are in its README.
    assert {name for name, _ in rows} == {*known} - {"adopt", "check", "init"}
    for name, options in rows:
        assert options_in(options) <= options_of(name)


def tasks_commands() -> click.Group:
    group = celery.commands["tasks"]
    assert isinstance(group, click.Group)
    return group


def options_in(text: str) -> set[str]:
    return {*re.findall(r"(?<![\w-])--[a-z0-9-]+", text)}


def options_of(name: str) -> set[str]:
    """Return the options of a command of `tasks`, and of the commands in its group."""
    context = click.Context(tasks_commands())
    command = tasks_commands().get_command(context, name)
    assert command is not None, name
    own = command.make_context(name, [], resilient_parsing=True).command
    inner = own.commands.values() if isinstance(own, click.Group) else ()
    params = [option for each in (own, *inner) for option in each.params]
    return {each for option in params for each in option.opts}


@pytest.mark.parametrize("page", RUNNING)
def test_the_code_of_a_how_to_runs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_variables(monkeypatch)
    names: dict[str, Any] = {}
    for block in blocks((HOW_TO / f"{page}.md").read_text("utf-8"), "python"):
        exec(block.text, names)


@pytest.mark.parametrize("page", RUNNING)
def test_the_variables_of_a_how_to_configure_a_service(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variables in environments((HOW_TO / f"{page}.md").read_text("utf-8")):
        forget_variables(monkeypatch)
        monkeypatch.setenv("WORKERTOOLBOX_QUEUES", "export")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        config = Config()

        for name, value in variables.items():
            if name == "WORKERTOOLBOX_BROKER_URL":
                assert config["broker_url"] == value


def forget_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WORKERTOOLBOX_")]:
        monkeypatch.delenv(name)


def test_the_policy_for_sqs_has_the_actions_that_are_checked() -> None:
    [policy] = blocks((HOW_TO / "sqs.md").read_text("utf-8"), "json")
    actions = [each["Action"] for each in json.loads(policy.text)["Statement"]]

    assert actions[0] == "sqs:ListQueues"
    assert set(actions[1]) == ACTIONS


def test_the_producer_publishes_and_shows_what_became_of_a_task(
    tmp_path: Path,
) -> None:
    first, second = blocks((HOW_TO / "producer.md").read_text("utf-8"), "python")
    names: dict[str, Any] = {}
    exec(first.text.replace("redis://cache/0", "memory://"), names)
    url = f"workertoolbox+sqlite:///{tmp_path / 'results.sqlite3'}"
    upgrade(url)
    exec(re.sub(r'"workertoolbox\+.*?"', repr(url), second.text), names)
    with TestClient(names["api"]) as client, names["store"]:
        answer = client.post("/exports", params={"folder": "some/folder"})
        unknown = client.get("/exports/unknown")
    copied = take_task_ids(names["celery_app"], "platform.fifo")

    assert answer.status_code == 202
    assert answer.json()["id"] in copied
    assert unknown.status_code == 404


def test_documents_that_code_names_exist_with_their_headings() -> None:
    found = {
        name
        for file in (ROOT / "packages").rglob("src/**/*.py")
        # A long message is several strings.
        for name in NAMED.findall(re.sub(r'"\s+"', "", file.read_text("utf-8")))
    }

    assert sum("#" in name for name in found) == 3
    for name in found:
        path, _, anchor = name.partition("#")
        text = (ROOT / path).read_text("utf-8")
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)

        assert not anchor or anchor in map(as_anchor, headings), name


def as_anchor(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
