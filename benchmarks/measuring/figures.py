"""What benchmarks measured, as a table in a terminal and in the documentation."""

from __future__ import annotations

import inspect
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from servers.executables import find_postgresql, find_rabbitmq, find_redis

#: A row of a table: values by column. The first one says what was measured.
Row = Mapping[str, str]

#: Packages whose version matters to the figures.
PACKAGES = ("celery", "kombu", "SQLAlchemy", "psycopg2-binary", "workertoolbox-results")


def compared(
    title: str, ours: str, others: str, ratio: str, *, goal: str = ""
) -> dict[str, str]:
    """Return a row that compares the toolbox with something else.

    Args:
        title: What was measured.
        ours: The figure of the toolbox, with its unit.
        others: The figure of the other one, with its unit and its name.
        ratio: The first as a multiple of the second, as "1.20 × the rate".
        goal: What the ratio should be.
    """
    return {
        "measured": title,
        "toolbox": ours,
        "compared with": others,
        "ratio": ratio,
        "goal": goal,
    }


def show(rows: Iterable[Row]) -> Iterator[Row]:
    """Print each row as soon as it is measured, with a head for each table."""
    head: tuple[str, ...] = ()
    for row in rows:
        if head != (head := tuple(row)):
            print(_line({column: column for column in head}), flush=True)
        print(_line(row), flush=True)
        yield row


def _line(row: Row) -> str:
    (_, title), *others = row.items()
    cells = (f"{value:>{max(len(column), 14)}}" for column, value in others)
    return "  ".join((f"{title:<52}", *cells)).rstrip()


def as_markdown(
    benchmark: ModuleType, options: list[str], rows: list[Row], *, load: float
) -> str:
    """Return a section of the documentation with the figures of a benchmark.

    Args:
        benchmark: Its docstring says what is measured, and how.
        options: The options with which it ran.
        load: The number of processes that ran or waited for a core before it began.
    """
    title, _, how = (inspect.getdoc(benchmark) or "").partition("\n\n")
    command = " ".join((_command(), benchmark.__name__, *options))
    made = (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}: {_machine()}, "
        f"load {load:.1f} before it began; {_versions()}."
    )
    return "\n\n".join((f"## {title.rstrip('.')}", how, *_tables(rows), made)) + "\n"


def _command() -> str:
    environment = os.environ.get("HATCH_ENV_ACTIVE", "default")
    return f"hatch run {'' if environment == 'default' else f'{environment}:'}bench"


def _tables(rows: list[Row]) -> Iterator[str]:
    head: tuple[str, ...] = ()
    lines: list[str] = []
    for row in rows:
        if head != (head := tuple(row)):
            if lines:
                yield "\n".join(lines)
            lines = [_cells(head), f"|{'---|' * len(head)}"]
        lines.append(_cells(row.values()))
    yield "\n".join(lines)


def _cells(values: Iterable[str]) -> str:
    return f"| {' | '.join(value.replace('|', '&#124;') for value in values)} |"


def _machine() -> str:
    pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {_processor()}, {pages * page_size / 2**30:.0f} GiB"


def _processor() -> str:
    """Return the model of the processor; outside of Linux, only its architecture."""
    file = Path("/proc/cpuinfo")
    text = file.read_text("utf-8") if file.exists() else ""
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _versions() -> str:
    packages = (f"{name} {version(name)}" for name in PACKAGES)
    python = f"Python {platform.python_version()}"
    return ", ".join((python, *packages, *_servers()))


def _servers() -> Iterator[str]:
    """Yield the version of each server that is installed."""
    rabbitmq = find_rabbitmq()
    for name, command in (
        ("PostgreSQL", [find_postgresql(), "--version"]),
        ("RabbitMQ", [rabbitmq and rabbitmq.with_name("rabbitmqctl"), "version"]),
        ("Redis", [find_redis(), "--version"]),
    ):
        if command[0] is not None:
            said = subprocess.run(command, capture_output=True, text=True).stdout  # type: ignore[arg-type]
            if found := re.search(r"\d+\.\d+[.\d]*", said):
                yield f"{name} {found[0]}"
