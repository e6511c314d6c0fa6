"""Tracebacks in which the service's own frames stand out.

As in the fingerprint of a failure, a frame is the service's own if its file is neither
a part of Python nor installed, unless it is installed with the package of the task.
Only the text of the traceback is known, so that files decide instead of modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from cadasta.workertoolbox.results._backend.own_frames import INSTALLED, RUNNERS

#: A frame; groups of exceptions have bars before it.
_FRAME = re.compile(
    r'(?P<margin>[ |]*) {2}File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.*)'
)

#: A folder of Python's own modules, on Linux, macOS and Windows.
_STANDARD_LIBRARY = re.compile(
    r"[/\\](?:lib(?:64)?[/\\]python3\.\d+t?|python3?\d*[/\\]lib)[/\\]", re.IGNORECASE
)

_SEPARATOR = re.compile(r"[/\\]")

#: Python's note about a function that calls itself.
_REPEATED = "  [Previous line repeated "

#: How the frames of Python itself are called.
_PYTHON = "Python"

#: The toolbox, which need not be installed among the libraries.
_TOOLBOX = "cadasta.workertoolbox"


@dataclass(frozen=True, slots=True)
class Part:
    """Successive lines of a traceback.

    Attributes:
        text: The lines.
        is_own: Whether they are a frame of the service itself.
        frames: How many frames of others they are; 0 for text and own frames.
        owners: What these belong to, such as `celery` and `Python`.
    """

    text: str
    is_own: bool = False
    frames: int = 0
    owners: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Traceback:
    """A traceback as a page shows it.

    Attributes:
        text: All of it.
        parts: Its parts in order.
        place: The file, line and function of the own frame nearest to the error.
    """

    text: str
    parts: Sequence[Part]
    place: str | None


@dataclass(frozen=True, slots=True)
class _Block:
    """A frame with its lines of source, or a line that is not part of a frame.

    `owner` is None for lines, and empty for the service itself.
    """

    lines: list[str]
    owner: str | None = None
    place: str | None = None


def read_traceback(text: str, task: str | None) -> Traceback:
    """Return a traceback with its parts.

    Args:
        task: The name of the task, which begins with its package.
    """
    package = (task or "").partition(".")[0]
    blocks = [*_blocks(text, package)]
    own = [block.place for block in blocks if block.owner == ""]
    return Traceback(text, [*_parts(blocks)], own[-1] if own else None)


def _blocks(text: str, package: str) -> Iterator[_Block]:
    current: _Block | None = None
    margin = 0
    for line in text.rstrip("\n").split("\n"):
        match = _FRAME.fullmatch(line)
        if match is not None:
            if current is not None:
                yield current
            margin = len(match["margin"])
            owner = _owner(match["file"], package)
            place = f"{match['file']}:{match['line']} in {match['name']}"
            current = _Block([line], owner, place)
        elif current is not None and (
            line[margin : margin + 3].isspace() or line.startswith(_REPEATED, margin)
        ):
            current.lines.append(line)  # The source of the frame, and its marks.
        else:
            if current is not None:
                yield current
            current = None
            yield _Block([line])
    if current is not None:
        yield current


def _parts(blocks: Sequence[_Block]) -> Iterator[Part]:
    def kind(block: _Block) -> str:
        if block.owner is None:
            return "text"
        return "foreign" if block.owner else "own"

    for name, group in groupby(blocks, kind):
        some = [*group]
        text = "\n".join(line for block in some for line in block.lines)
        if name == "foreign":
            owners = dict.fromkeys(block.owner or "" for block in some)
            yield Part(text, frames=len(some), owners=[*owners])
        else:
            yield Part(text, is_own=name == "own")


def _owner(file: str, package: str) -> str:
    """Return what a file belongs to; an empty text for the service itself."""
    if file.startswith("<"):  # Frozen or generated code.
        return _PYTHON
    folders = _SEPARATOR.split(file)
    places = [number for number, each in enumerate(folders) if each in INSTALLED]
    inside = ".".join(folders[places[-1] + 1 :]) if places else ""
    for runner in RUNNERS:
        if f"{inside}.".startswith(f"{runner}."):
            return runner
    if places:
        top = inside.removesuffix(".py").partition(".")[0]
        return "" if top == package else top
    if f".{_TOOLBOX}." in f".{'.'.join(folders)}.":
        return _TOOLBOX
    return _PYTHON if _STANDARD_LIBRARY.search(file) else ""
