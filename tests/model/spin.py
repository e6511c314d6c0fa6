"""Run Spin: make a verifier of a model, run it, and read the trace of a failure."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from servers.executables import find_compiler, find_spin

FOLDER = Path(__file__).parent

#: Longest sequence of steps. The verifier says if it was too short.
MAX_STEPS = 2_000_000

#: Compiling takes longer than a check of a million states, so nothing is optimized, ...
_QUICK = ("-O0",)

#: ... except for many states, which are compressed.
_THOROUGH = ("-O2", "-DCOLLAPSE")

#: A line of a trace, such as `proc 2 (Monitor:1) pipe.pml:210 (state 9) [held = 1]`.
_STEP = re.compile(
    r"proc +\d+ \((\w+):\d+\) (\w+)\.pml:(\d+) \(state \d+\)\s+\[(.*)\]$"
)
_CHANGE = re.compile(r"\w[\w\[\]]* ?[=!?]")
_UNREACHED = re.compile(r"\w+\.pml:\d+, state \d+, (?!\"-end-\").*")
_VIOLATED = re.compile(r"(\w+)\.pml:(\d+), Error: assertion violated")

#: The code that does a step: a file under `packages/`, and a name in it.
SOURCE = re.compile(r"(?:results|routing)/[\w./]+: [\w.]+")


class Step(NamedTuple):
    """What one process of a model did.

    Attributes:
        source: The code that does it, or what the model says in place of it.
        statements: The statements of the model.
    """

    process: str
    source: str
    statements: str


class Verdict(NamedTuple):
    """The outcome of a verification.

    Attributes:
        states: The number of states that were looked at.
        broken: The property that does not hold, as the model names it in a comment;
            None if all properties hold in all states.
        trace: The steps to the state in which it does not hold.
        unreached: The statements that no sequence of steps reaches, with their lines.
    """

    states: int
    broken: str | None = None
    trace: Sequence[Step] = ()
    unreached: Sequence[str] = ()


def verify(
    model: str,
    bounds: Mapping[str, int],
    folder: Path,
    *,
    shortest: bool = False,
    thorough: bool = False,
) -> Verdict:
    """Check all states of a model.

    Args:
        bounds: Values for names of the model.
        folder: An empty folder.
        shortest: Whether to find the shortest trace first, which takes longer.
        thorough: Whether there are many states.

    Raises:
        ChildProcessError: The model is faulty, or the limits of the verifier too small.
    """
    spin, compiler = str(find_spin()), str(find_compiler())
    source = Path(shutil.copy(FOLDER / f"{model}.pml", folder))
    defined = [f"-D{name}={value}" for name, value in bounds.items()]
    _run([spin, "-a", *defined, source.name], folder)
    flags = [*(_THOROUGH if thorough else _QUICK), *(["-DBFS"] if shortest else [])]
    _run([compiler, "-w", "-DSAFETY", "-DNOFAIR", *flags, "-o", "pan", "pan.c"], folder)
    # A process that waits for a message is not a deadlock; the models check the end.
    output = _run(["./pan", "-E", f"-m{MAX_STEPS}", "-w22"], folder)
    if "errors: 0" in output:
        if "search depth too small" in output or "Search not completed" in output:
            raise ChildProcessError(output)
        return Verdict(_states(output), unreached=_UNREACHED.findall(output))
    trail = next(folder.glob("*.trail"))
    options = ["-t", "-p", "-k", trail.name, *defined]
    traced = _run([spin, *options, source.name], folder, expected=(0, 1))
    violated = _VIOLATED.search(traced)
    if violated is None:
        raise ChildProcessError(output + traced)
    lines = source.read_text("utf-8").splitlines()
    broken = _comment(lines[int(violated[2]) - 1])
    return Verdict(_states(output), broken, [*_steps(traced, lines)])


def _states(output: str) -> int:
    found = re.search(r"(\d+) states, stored", output)
    if found is None:
        raise ChildProcessError(output)
    return int(found[1])


def _steps(traced: str, lines: Sequence[str]) -> Iterator[Step]:
    """Yield the steps of a trace; statements of one block are one step."""
    for (process, source), some in groupby(_taken(traced, lines), itemgetter(0, 1)):
        # Conditions and assertions only lead to the next statement.
        statements = [each for *_, each in some if _CHANGE.match(each)]
        if statements:
            yield Step(process, source, "; ".join(statements))


def _taken(traced: str, lines: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the process, the source and the text of each statement of a trace."""
    process = source = ""
    for line in traced.splitlines():
        if (found := _STEP.search(line)) is None:
            continue
        block = _block(lines, int(found[3]))
        # What an inline definition does belongs to the step that uses it.
        if block is not None or found[1] != process:
            source = block or ""
        process = found[1]
        yield process, source, found[4]


def _block(lines: Sequence[str], number: int) -> str | None:
    """Return what the comment of the block with a line says; None in a definition."""
    if lines[number - 1].strip().startswith("MAY_"):
        return "a fault"
    depth = 0
    for line in reversed(lines[:number]):
        code = line.partition("//")[0]
        depth += code.count("{") - code.count("}")
        if depth > 0 and "atomic {" in code:
            return _comment(line)
        if depth > 0 and code.startswith("inline"):
            return None
        if depth > 0:
            break
    return _comment(lines[number - 1])


def _comment(line: str) -> str:
    return line.partition("//")[2].strip()


def _run(
    command: Sequence[str], folder: Path, *, expected: Sequence[int] = (0,)
) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode not in expected:
        raise ChildProcessError(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout
