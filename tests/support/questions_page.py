"""The commands and outputs of `docs/how-to/questions.md`.

A block of the page is a console: commands after `$`, each followed by its output. The
first word of a command says how it is run:

- `celery -A proj tasks …` in this process, on a terminal of 120 columns; after ` | `,
  other commands can follow,
- `echo $?` prints the exit code of the command before it,
- others in a shell, in the same folder.

The comment `<!-- types: … -->` before a block says what a person types when a command
asks.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import (
    ExitStack,
    chdir,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from celery import Celery
from celery.bin.celery import celery

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "questions.md"

#: Width of the terminal, in characters.
COLUMNS = 120

_BLOCK = re.compile(
    r"(?:<!-- types: (?P<typed>.*?) -->\n)?```console\n(?P<text>.*?)```\n", re.DOTALL
)

#: An operation has a random key, from which the ids of its tasks are made.
_RANDOM = re.compile(
    r"\b[0-9a-f]{12}(?=: |  (?:rerun|resolve|ignore|reopen)\b)"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f-]{17}"
)


@dataclass(frozen=True)
class Question:
    """A question of the page.

    Attributes:
        title: Its heading, such as `3. Which errors are new?`.
        text: What follows the heading, up to the next one.
    """

    title: str
    text: str


def read_page() -> str:
    """Return the text of the page."""
    return PAGE.read_text("utf-8")


def questions(page: str) -> list[Question]:
    """Return the questions of the page, in order."""
    parts = re.split(r"^#+ (.*)\n", page, flags=re.MULTILINE)
    titles = zip(parts[1::2], parts[2::2], strict=True)
    return [Question(*each) for each in titles if re.match(r"\d+\. ", each[0])]


def answer(app: Celery, page: str, folder: Path) -> str:
    """Return the page with the present output of each command.

    An output that differs only in what is random stays.

    Args:
        folder: The working directory of the commands.
    """
    with terminal(folder):
        return _BLOCK.sub(lambda block: _answered(app, block), page)


def masked(text: str) -> str:
    """Return a text without what is random."""
    return _RANDOM.sub("…", text)


def _answered(app: Celery, block: re.Match[str]) -> str:
    shown, code = [], 0
    for command in _commands(block["text"]):
        shown.append(f"$ {command}\n")
        first, _, rest = command.replace("\\\n", " ").partition(" | ")
        words = shlex.split(first)
        if words[:1] == ["celery"]:
            screen = Screen(is_terminal=not rest)
            code = run_celery(app, words[1:], screen, block["typed"] or "")
            text = _run_in_shell(rest, screen.text()) if rest else screen.text()
        elif words == ["echo", "$?"]:
            text = f"{code}\n"
        else:
            text = _run_in_shell(command)
        shown.append("\n".join(map(_as_on_screen, text.split("\n"))))
    start = block[0].partition("```")[0]
    found = f"{start}```console\n{''.join(shown)}```\n"
    return block[0] if masked(found) == masked(block[0]) else found


def _as_on_screen(line: str) -> str:
    """Return what remains of a line that was overwritten after each `\\r`."""
    return line.rpartition("\r")[2].rstrip()


def _commands(text: str) -> Iterator[str]:
    """Yield the commands of a block; a line that ends with `\\` goes on."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command += f"\n{next(lines)}"
            yield command


@contextmanager
def terminal(folder: Path) -> Iterator[None]:
    """Describe a terminal without colours, in UTC, to what runs in this block."""
    variables = {"COLUMNS": str(COLUMNS), "LINES": "50", "TERM": "dumb", "TZ": "UTC"}
    with ExitStack() as stack:
        stack.callback(time.tzset)
        stack.enter_context(patch.dict(os.environ, variables))
        stack.enter_context(chdir(folder))
        time.tzset()
        yield


class Screen(io.TextIOWrapper):
    """Standard output of a command.

    Args:
        is_terminal: Whether it is a terminal, and not a pipe.
    """

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), "utf-8", write_through=True)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def text(self) -> str:
        """Return what was written."""
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


class _Keyboard(io.StringIO):
    """Standard input; a terminal shows what is typed."""

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        line = super().readline(size)
        sys.stdout.write(line)
        return line


def run_celery(
    app: Celery, words: Sequence[str], screen: Screen, typed: str = ""
) -> int:
    """Run Celery's command line, and return its exit code.

    Args:
        words: After `celery`; `proj` stands for the app.
        screen: Gets the output.
        typed: What a person types when the command asks.
    """
    keyboard = _Keyboard(f"{typed}\n" if typed else "")
    arguments: Any = [app if each == "proj" else each for each in words]
    with (
        redirect_stdout(screen),
        redirect_stderr(screen),
        patch("sys.stdin", keyboard),
    ):
        try:
            celery.main(arguments, "celery")
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def _run_in_shell(command: str, text: str = "") -> str:
    """Return the output of a command that reads a text."""
    done = subprocess.run(
        ["sh", "-c", command], input=text, capture_output=True, text=True, check=True
    )
    return done.stdout
