"""The tasks of the queue `export`: the workflow and the work on the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

from celery import chain, chord

from export_service import archive
from export_service.celery import app
from export_service.folder import chunks, list_files
from export_service.job import Job
from export_service.msg import announce, notify, remind, webhook
from export_service.table import save

#: Seconds until the reminder of an export.
REMIND_AFTER = 2.0

#: The target of the task that fails on purpose, a name that never resolves (RFC 2606).
WEBHOOK = "https://webhook.invalid/export"


@app.task(name="export.project")
def project(folder: str, output: str, fail: bool = False) -> dict[str, Any]:
    """Start the tasks that export a folder, and return their ids.

    Args:
        folder: Absolute path of the folder.
        output: Absolute path of the zip file.
        fail: Also start a task that fails. The export does not depend on it.

    Raises:
        NotADirectoryError: The folder does not exist.
    """
    listing = list_files(Path(folder), output=Path(output))
    job = Job(str(uuid4()), folder, output)
    job.parts.mkdir(parents=True)
    save(job.left_out, listing.left_out)
    fields = vars(job)
    parts = list(enumerate(chunks(listing.sizes)))
    header = [
        *(describe.s(fields, chunk, paths) for chunk, paths in parts),
        *(pack.s(fields, chunk, paths) for chunk, paths in parts),
        announce.s(folder, len(listing.sizes)),
    ]
    done = chain(chord(header, bundle.s(fields)), notify.s()).apply_async()
    started = {
        "files": len(listing.sizes),
        "chunks": len(parts),
        "notify": done.id,
        "remind": remind.apply_async((output,), countdown=REMIND_AFTER).id,
    }
    if fail:
        started["webhook"] = webhook.delay(WEBHOOK).id
    return started


@app.task(name="export.describe")
def describe(job: dict[str, str], chunk: int, paths: list[str]) -> dict[str, int]:
    """Describe some files in a table."""
    with Job(**job).unless_finished():
        archive.describe_chunk(Job(**job), chunk, paths)
    return {"chunk": chunk, "described": len(paths)}


@app.task(name="export.pack")
def pack(job: dict[str, str], chunk: int, paths: list[str]) -> dict[str, int]:
    """Pack some files."""
    with Job(**job).unless_finished():
        archive.pack_chunk(Job(**job), chunk, paths)
    return {"chunk": chunk, "packed": len(paths)}


@app.task(name="export.bundle")
def bundle(header: list[Any], fields: dict[str, str]) -> dict[str, Any]:
    """Write the archive with its manifest, and return a summary."""
    job = Job(**fields)
    packed = [part["chunk"] for part in header if "packed" in part]
    with job.unless_finished():
        archive.bundle(job, packed)
    with ZipFile(job.output) as opened:
        rows = archive.read_manifest(opened)
    job.clean_up()
    sizes = [row.size for row in rows if row.size is not None]
    return {
        "output": job.output,
        "files": len(sizes),
        "bytes": sum(sizes),
        "left_out": len(rows) - len(sizes),
    }
