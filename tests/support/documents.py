"""The documents of the repository: their code blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: All documents but changelogs, by their paths in the repository.
DOCUMENTS = {
    str(file.relative_to(ROOT)): file
    for pattern in ("*.md", "docs/**/*.md", "packages/*/README.md", "examples/**/*.md")
    for file in sorted(ROOT.glob(pattern))
    if "_generated" not in file.parts
}

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)

#: What begins a command of Celery's, up to the name of the app.
_CELERY = re.compile(r"\bcelery (?=-A |multi )")

#: What ends it in a line of a shell.
_END = re.compile(r" #| \||;| &|>| {3,}|`|\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: What is after the fence, such as `python`, or an empty text.
        note: The comment on the line before it, for tests.
    """

    language: str
    text: str
    note: str


def blocks(text: str, *languages: str) -> Sequence[Block]:
    """Return the blocks of a document, in order."""
    return [
        Block(each["language"], each["text"], each["note"] or "")
        for each in _BLOCK.finditer(text)
        if not languages or each["language"] in languages
    ]


def celery_commands(text: str) -> Iterator[Sequence[str]]:
    """Yield the words of each command of Celery's in a document, after `celery`."""
    joined = re.sub(r"\\\n\s*", "", text)
    for line in joined.splitlines():
        for found in _CELERY.finditer(line):
            end = _END.search(line, found.end())
            command = line[found.end() : end.start() if end else None]
            words = _split(command)
            yield [*words[:2], *(word for word in words[2:] if word != "…")]


def _split(command: str) -> Sequence[str]:
    try:
        return shlex.split(command)
    except ValueError:
        # A quote that is closed in the next line of a text.
        return command.split()


def environments(text: str) -> Iterator[dict[str, str]]:
    """Yield the variables of the toolbox that stand together in a document."""
    for lines in re.findall(r"(?:^ {4}WORKERTOOLBOX_\w+=.*\n)+", text, re.MULTILINE):
        pairs = (line.strip().partition("=") for line in lines.splitlines())
        yield {name: value for name, _, value in pairs}
