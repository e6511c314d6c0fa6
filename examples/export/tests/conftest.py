"""A folder to export, and an export of it without Celery."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from export_service.archive import bundle, describe_chunk, pack_chunk
from export_service.folder import chunks, list_files
from export_service.job import Job
from export_service.table import save

FILES = {
    "a.txt": b"one\ntwo\n",
    "b.bin": b"\0\1\2",
    "empty": b"",
    "manifest.csv": b"not the manifest",
    "sub/new\nline": b"odd name",
    "sub/\u4e2d.txt": "\u4e2d\n".encode(),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with some files of each kind."""
    for name, content in FILES.items():
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "folder"


@pytest.fixture
def job(folder: Path, tmp_path: Path) -> Job:
    """An export of that folder whose folder of parts exists."""
    job = Job("job", str(folder), str(tmp_path / "out.zip"))
    job.parts.mkdir()
    return job


@pytest.fixture
def export(job: Job) -> Callable[..., Path]:
    """Export the folder; `meanwhile` is called between the table and the packs."""

    def run(meanwhile: Callable[[], object] = lambda: None) -> Path:
        listing = list_files(Path(job.folder), output=Path(job.output))
        save(job.left_out, listing.left_out)
        parts = list(enumerate(chunks(listing.sizes)))
        for chunk, paths in parts:
            describe_chunk(job, chunk, paths)
        meanwhile()
        for chunk, paths in parts:
            pack_chunk(job, chunk, paths)
        bundle(job, [chunk for chunk, _ in parts])
        job.clean_up()
        return Path(job.output)

    return run
