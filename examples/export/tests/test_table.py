"""The table of files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from export_service.table import PROBE, Row, blocks, describe, load, read_rows, save

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("content", "lines"),
    [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2), (b"\xff\n", 1)],
)
def test_the_last_line_counts_with_or_without_its_end(
    content: bytes, lines: int
) -> None:
    row = describe("a", [content])

    assert (row.kind, row.lines, row.size) == ("text", lines, len(content))


def test_an_empty_file_is_described_too() -> None:
    row = describe("a", [])

    assert row == Row("a", size=0, lines=0, sha256=EMPTY, kind="text")


def test_it_does_not_matter_where_the_blocks_are_cut() -> None:
    assert describe("a", [b"x\n\0", b"y\n", b""]) == describe("a", [b"x\n\0y\n"])


@pytest.mark.parametrize(("zeros_at", "kind"), [(PROBE - 1, "binary"), (PROBE, "text")])
def test_a_nul_near_the_beginning_makes_a_file_binary(zeros_at: int, kind: str) -> None:
    content = b" " * zeros_at + b"\0"

    assert describe("a", [content[:10], content[10:]]).kind == kind


def test_a_binary_file_has_no_lines() -> None:
    assert describe("a", [b"\0\n"]).lines is None


def test_blocks_are_the_rest_of_a_file() -> None:
    file = io.BytesIO(b"abc")
    file.read(1)

    assert list(blocks(file)) == [b"bc"]


@pytest.mark.parametrize(
    "path", ["a,b", 'a"b', "a\nb", "a\r\nb", "a\rb", " a ", "ü/中\u2028", "=1+1"]
)
def test_a_table_keeps_every_name(tmp_path: Path, path: str) -> None:
    rows = [describe(path, [b"a"]), Row(path, note="left out: why")]
    save(tmp_path / "table.csv", rows)

    assert load(tmp_path / "table.csv") == rows


@pytest.mark.parametrize(
    "text",
    [
        "",
        "path,size\na,1\n",
        "path,size,lines,sha256,kind,note\na,1\n",
        "path,size,lines,sha256,kind,note\na,1,1,f,text,,more\n",
        "path,size,lines,sha256,kind,note\na,many,1,f,text,\n",
        'path,size,lines,sha256,kind,note\n"a,1,1,f,text,\n',
    ],
)
def test_text_that_is_not_a_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_rows(io.StringIO(text, newline=""))
