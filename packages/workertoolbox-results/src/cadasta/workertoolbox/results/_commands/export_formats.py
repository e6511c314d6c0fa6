"""The formats that `tasks export` writes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from datetime import datetime
from importlib import import_module
from typing import IO, Any

import click

from cadasta.workertoolbox.results._task import Task

Write = Callable[[Sequence[Task]], None]

FORMATS = ("ndjson", "csv", "parquet")

#: Values that are JSON in a table.
_DOCUMENTS = ("args", "kwargs", "result", "headers")


def make_writer(name: str, file: IO[bytes]) -> AbstractContextManager[Write]:
    """Return a function that writes tasks, and completes the file at the end.

    Raises:
        click.ClickException: The library of the format is not installed.
    """
    return {"ndjson": _ndjson, "csv": _csv, "parquet": _parquet}[name](file)


@contextmanager
def _ndjson(file: IO[bytes]) -> Iterator[Write]:
    def write(tasks: Sequence[Task]) -> None:
        for task in tasks:
            file.write(json.dumps(task.as_json(), ensure_ascii=False).encode())
            file.write(b"\n")

    yield write


@contextmanager
def _csv(file: IO[bytes]) -> Iterator[Write]:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    rows = csv.DictWriter(text, _names(), lineterminator="\n")
    rows.writeheader()
    yield lambda tasks: rows.writerows(map(_flat, tasks))
    text.detach()


@contextmanager
def _parquet(file: IO[bytes]) -> Iterator[Write]:
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise click.ClickException(
            "Parquet needs pyarrow, which is not installed; run pip install pyarrow"
        ) from None
    instant = arrow.timestamp("us", tz="UTC")
    types = {"retries": arrow.int64()}
    types |= dict.fromkeys(_instants(), instant)
    schema = arrow.schema(
        [(name, types.get(name, arrow.string())) for name in _names()]
    )
    with parquet.ParquetWriter(file, schema) as rows:

        def write(tasks: Sequence[Task]) -> None:
            if tasks:
                table = arrow.Table.from_pylist(
                    [_typed(task) for task in tasks], schema
                )
                rows.write_table(table)

        yield write


def _names() -> Sequence[str]:
    """Return the names of the columns: the keys of `--json`."""
    blank = {field.name: None for field in fields(Task)}
    return [*Task(**blank).as_json()]  # type: ignore[arg-type]


def _instants() -> Sequence[str]:
    return [field.name for field in fields(Task) if "datetime" in str(field.type)]


def _flat(task: Task) -> dict[str, Any]:
    """Return the values of a row as texts and numbers."""
    values = task.as_json()
    for name in _DOCUMENTS:
        if values.get(name) is not None:
            values[name] = json.dumps(values[name], ensure_ascii=False)
    return values


def _typed(task: Task) -> dict[str, Any]:
    values = _flat(task)
    for name in _instants():
        value: datetime | None = getattr(task, name)
        values[name] = value
    return values
