"""Complete and broken archives."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zipfile import ZipFile

import pytest

from export_service.archive import MANIFEST, read_manifest
from export_service.table import Row, write_rows
from export_service.verification import BrokenArchive, verify

Export = Callable[..., Path]


def tamper(
    archive: Path,
    *,
    rows: Callable[[list[Row]], list[Row]] = lambda rows: rows,
    content: dict[str, bytes] | None = None,
    without: str = "",
) -> None:
    """Rewrite an archive with another manifest or other content."""
    with ZipFile(archive) as opened:
        table = rows(read_manifest(opened))
        files = {name: opened.read(name) for name in opened.namelist()}
    text = io.StringIO()
    write_rows(text, table)
    files = {**files, MANIFEST: text.getvalue().encode(), **(content or {})}
    with ZipFile(archive, "w") as opened:
        for name, data in files.items():
            if name != without:
                opened.writestr(name, data)


def test_an_export_is_complete(folder: Path, export: Export) -> None:
    found = verify(export(), folder)

    assert [row.path for row in found.files] == [
        "a.txt",
        "b.bin",
        "empty",
        "manifest.csv",
        "sub/new\nline",
        "sub/\u4e2d.txt",
    ]
    assert (found.left_out, found.changed) == ([], [])


def test_an_export_of_a_changing_folder_is_complete(
    folder: Path, export: Export
) -> None:
    def change() -> None:
        (folder / "a.txt").write_bytes(b"changed")
        (folder / "b.bin").unlink()

    found = verify(export(change), folder)

    assert [row.path for row in found.left_out] == ["b.bin"]
    assert found.changed == []


def test_a_missing_archive_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokenArchive, match=r"out\.zip does not exist"):
        verify(tmp_path / "out.zip", folder)


def test_half_an_archive_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2])
    with pytest.raises(BrokenArchive, match="not a complete zip file"):
        verify(archive, folder)


def test_a_flipped_bit_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    data = bytearray(archive.read_bytes())
    with ZipFile(archive) as opened:
        info = opened.getinfo("files/manifest.csv")
    data[info.header_offset + 30 + len(info.filename) + 5] ^= 1
    archive.write_bytes(data)
    with pytest.raises(BrokenArchive):
        verify(archive, folder)


def test_a_missing_manifest_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    tamper(archive, without=MANIFEST)
    with pytest.raises(BrokenArchive, match=r"has no manifest\.csv"):
        verify(archive, folder)


def test_a_damaged_manifest_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    tamper(archive, content={MANIFEST: b"path,size\n"})
    with pytest.raises(BrokenArchive, match=r"manifest\.csv is damaged"):
        verify(archive, folder)


def test_a_missing_file_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    tamper(archive, without="files/a.txt")
    with pytest.raises(BrokenArchive, match="'files/a.txt': in manifest.csv, but not"):
        verify(archive, folder)


def test_a_file_without_a_row_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    tamper(archive, content={"files/more": b""})
    with pytest.raises(BrokenArchive, match="'files/more': in the zip, but not"):
        verify(archive, folder)


def test_a_row_twice_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    tamper(archive, rows=lambda rows: [*rows, rows[0]])
    with pytest.raises(BrokenArchive, match=r"'a\.txt': more than once in manifest"):
        verify(archive, folder)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_twice_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    with ZipFile(archive, "a") as opened:
        opened.writestr("files/a.txt", b"one\ntwo\n")
    with pytest.raises(BrokenArchive, match="more than once in the zip"):
        verify(archive, folder)


def test_another_digest_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    tamper(archive, rows=lambda rows: [replace(rows[0], sha256="0"), *rows[1:]])
    with pytest.raises(BrokenArchive, match=r"'a\.txt' does not match manifest"):
        verify(archive, folder)


def test_other_content_is_an_error(folder: Path, export: Export) -> None:
    archive = export()
    tamper(archive, content={"files/a.txt": b"one\ntwo!"})
    with pytest.raises(BrokenArchive, match=r"'a\.txt' does not match manifest"):
        verify(archive, folder)


@pytest.mark.parametrize("name", ["a.txt", "more"])
def test_a_folder_that_differs_is_an_error(
    folder: Path, export: Export, name: str
) -> None:
    archive = export()
    (folder / name).write_bytes(b"different")
    with pytest.raises(BrokenArchive, match=f"'{name}': different in"):
        verify(archive, folder)


def test_a_file_that_changed_after_the_export_is_not_compared(
    folder: Path, export: Export
) -> None:
    archive = export()
    (folder / "a.txt").write_bytes(b"different")
    (folder / "b.bin").unlink()
    (folder / "more").write_bytes(b"new")
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    found = verify(archive, folder, exported_at=long_ago)

    assert sorted(found.changed) == ["a.txt", "b.bin", "more"]


def test_a_file_that_changed_before_the_export_is_an_error(
    folder: Path, export: Export
) -> None:
    archive = export()
    (folder / "a.txt").write_bytes(b"different")
    later = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(BrokenArchive, match=r"'a\.txt': different in"):
        verify(archive, folder, exported_at=later)


def test_a_long_list_is_shortened(folder: Path, export: Export) -> None:
    archive = export()
    for number in range(5):
        (folder / f"more{number}").touch()
    with pytest.raises(BrokenArchive, match="'more2' and 2 more: different"):
        verify(archive, folder)
