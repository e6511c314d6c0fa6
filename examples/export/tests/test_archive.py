"""Packs, and the archive that is made from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from export_service.archive import (
    CHANGED,
    bundle,
    describe_chunk,
    pack_chunk,
    read_manifest,
)
from export_service.job import Job
from export_service.table import Row, describe, save

Export = Callable[..., Path]


def manifest(archive: Path) -> dict[str, Row]:
    with ZipFile(archive) as opened:
        return {row.path: row for row in read_manifest(opened)}


def test_an_archive_has_every_file_and_a_manifest(folder: Path, export: Export) -> None:
    with ZipFile(export()) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    del content["manifest.csv"]
    files = (file for file in folder.rglob("*") if file.is_file())

    assert content == {
        f"files/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in files
    }


def test_the_manifest_describes_every_file(folder: Path, export: Export) -> None:
    rows = manifest(export())

    assert rows["a.txt"] == describe("a.txt", [b"one\ntwo\n"])
    assert rows["b.bin"] == describe("b.bin", [b"\0\1\2"])
    assert {row.note for row in rows.values()} == {""}


def test_an_empty_folder_gives_an_empty_manifest(job: Job) -> None:
    save(job.left_out, [])

    assert bundle(job, []) == []
    assert manifest(Path(job.output)) == {}


def test_the_parts_are_gone_in_the_end(job: Job, export: Export) -> None:
    export()

    assert not job.parts.exists()


def test_a_file_that_changes_has_the_row_of_what_was_packed(
    folder: Path, export: Export
) -> None:
    archive = export(lambda: (folder / "a.txt").write_bytes(b"three\n"))
    row = manifest(archive)["a.txt"]

    assert row == Row(**{**vars(describe("a.txt", [b"three\n"])), "note": CHANGED})
    with ZipFile(archive) as opened:
        assert opened.read("files/a.txt") == b"three\n"


def test_a_file_that_vanishes_is_left_out_with_a_note(
    folder: Path, export: Export
) -> None:
    archive = export((folder / "a.txt").unlink)

    assert manifest(archive)["a.txt"] == Row(
        "a.txt", note="left out: it vanished during the export"
    )
    with ZipFile(archive) as opened:
        assert "files/a.txt" not in opened.namelist()


def test_a_file_that_was_never_there_is_left_out_with_the_reason(job: Job) -> None:
    save(job.left_out, [])
    describe_chunk(job, 0, ["missing"])
    pack_chunk(job, 0, ["missing"])

    assert bundle(job, [0]) == [
        Row("missing", note="left out: No such file or directory")
    ]


@pytest.mark.parametrize(("modified_at", "year"), [(0, 1980), (2**32, 2106)])
def test_a_file_may_be_older_or_newer_than_zip_can_say(
    folder: Path, export: Export, modified_at: int, year: int
) -> None:
    os.utime(folder / "a.txt", (modified_at, modified_at))
    with ZipFile(export()) as archive:
        info = archive.getinfo("files/a.txt")

    assert info.date_time[0] == year


def test_permissions_are_kept(folder: Path, export: Export) -> None:
    (folder / "a.txt").chmod(0o751)
    with ZipFile(export()) as archive:
        info = archive.getinfo("files/a.txt")

    assert info.external_attr >> 16 & 0o777 == 0o751


def test_a_task_that_runs_twice_leaves_the_same_parts(job: Job) -> None:
    for _ in range(2):
        describe_chunk(job, 0, ["a.txt"])
        pack_chunk(job, 0, ["a.txt"])

    assert sorted(job.parts.iterdir()) == [job.table(0), job.pack(0)]


def test_a_missing_part_is_an_error_until_the_archive_is_there(
    job: Job, export: Export
) -> None:
    save(job.left_out, [])
    with pytest.raises(FileNotFoundError), job.unless_finished():
        bundle(job, [0])
    job.clean_up()
    job.parts.mkdir()
    export()
    with job.unless_finished():
        bundle(job, [0])

    assert job.is_finished()


def test_the_archive_of_another_job_does_not_excuse_a_missing_part(
    job: Job, export: Export
) -> None:
    export()
    other = Job("other", job.folder, job.output)
    with pytest.raises(FileNotFoundError), other.unless_finished():
        describe_chunk(other, 0, ["a.txt"])


def test_an_archive_appears_only_when_it_is_complete(job: Job) -> None:
    save(job.left_out, [])
    describe_chunk(job, 0, ["a.txt"])
    with pytest.raises(FileNotFoundError):
        bundle(job, [0])

    assert not Path(job.output).exists()
