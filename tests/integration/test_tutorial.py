"""The tutorial leads to what it shows, with its own files and commands.

Comments before the blocks of the page say what a person does with them: `save FILE`,
`change FILE`, for a function to replace, and `terminal NAME`, for a command that goes
on running; the command that ran there before is stopped first.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from urllib.request import urlopen

import pytest
from celery import Celery
from celery.app.utils import find_app

from servers.ports import HOST, free_ports
from support.documents import ROOT, Block, blocks
from support.polling import wait_until
from support.processes import Process, running
from support.questions_page import Screen, run_celery, terminal

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")

#: What differs between two runs: ids, times, durations, names of hosts and processes,
#: and revisions of the schema.
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
OTHERS = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|<?[\d.]+ (?:ms|s|min)\b"
    r"|(?:celery|gen\d+)@[\w.-]+|operation \w{12}|revision \d+"
)


class Reader:
    """A person who follows the page in a folder.

    Args:
        folder: The working directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"{HOST}:{free_ports(1)[0]}"
        #: The ids of this run, by those on the page.
        self.ids: dict[str, str] = {}
        self.terminals: dict[str, ExitStack] = {}
        self.processes: list[Process] = []

    def follow(self, block: Block) -> None:
        """Do what a block of the page says."""
        action, _, name = block.note.partition(" ")
        if action == "save":
            (self.folder / name).write_text(block.text, "utf-8")
        elif action == "change":
            self._change(self.folder / name, block.text)
        elif action == "terminal":
            self._start(name, block.text)
        else:
            command, _, shown = block.text.removeprefix("$ ").partition("\n")
            self._compare(command, shown)

    def stop(self) -> None:
        """Stop all commands that go on running."""
        for process in self.processes:
            # All at once: some take a second.
            process.popen.terminate()
        for stack in self.terminals.values():
            stack.close()

    def _change(self, file: Path, function: str) -> None:
        text = file.read_text("utf-8")
        head = function.partition("\n")[0]
        old = re.search(rf"^{re.escape(head)}\n.*?(?=\n\n\n|\Z)", text, re.S | re.M)
        assert old is not None
        file.write_text(text.replace(old[0], function), "utf-8")

    def _start(self, name: str, text: str) -> None:
        if name in self.terminals:
            self.terminals[name].close()
        words = self._words(text.removeprefix("$ "))
        if name == "pages":
            words += ["--bind", self.address]
        stack = self.terminals[name] = ExitStack()
        process = running(words, folder=self.folder, name=name)
        self.processes.append(stack.enter_context(process))

    def _compare(self, command: str, shown: str) -> None:
        """Repeat a command until it prints what the page shows."""
        is_read_only = command.split()[-1] == "list" or " why " in command

        def check() -> bool:
            found = self._run(command)

            assert masked(found) == masked(shown), found
            self.ids |= zip(ID.findall(shown), ID.findall(found), strict=True)
            return True

        wait_until(check, timeout_s=60.0 if is_read_only else 0.0)

    def _run(self, command: str) -> str:
        """Run a command in this process, or one of Python's in another."""
        words = self._words(command)
        if "celery" not in words:
            subprocess.run(words, cwd=self.folder, check=True)
            return ""
        screen = Screen(is_terminal=False)
        with terminal(self.folder):
            names = ["proj" if word == "shop" else word for word in words[3:]]
            run_celery(self._app, names, screen)
        return screen.text()

    @cached_property
    def _app(self) -> Celery:
        app: Celery = find_app("shop")
        return app

    def _words(self, command: str) -> list[str]:
        known = ID.sub(lambda id: self.ids[id[0]], command)
        program, *words = shlex.split(known)
        module = ["-m", "celery"] if program == "celery" else []
        return [sys.executable, *module, *words]


def masked(text: str) -> list[str]:
    """Return the words of each line, without what differs between two runs."""
    same = OTHERS.sub("…", ID.sub("…", text))
    same = re.sub(r"(longest run …) of \S+", r"\1", same)
    return [" ".join(line.split()) for line in same.splitlines() if line.strip()]


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.syspath_prepend(tmp_path)
    reader = Reader(tmp_path)
    yield reader
    reader.stop()
    sys.modules.pop("shop", None)


def test_the_tutorial_leads_to_what_it_shows(reader: Reader) -> None:
    for block in blocks(PAGE, "python", "console"):
        reader.follow(block)

    def read_page() -> str:
        with urlopen(f"http://{reader.address}/tasks", timeout=10) as answer:
            return str(answer.read().decode())

    def page() -> str:
        try:
            return read_page()
        except OSError:
            return ""

    assert "mails.confirm" in wait_until(page)
