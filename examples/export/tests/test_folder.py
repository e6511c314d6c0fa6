"""Which files are exported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from export_service.folder import (
    CHUNK_BYTES,
    CHUNK_FILES,
    PARTS,
    chunks,
    list_files,
    open_file,
)
from export_service.table import Row

#: The user `nobody`.
NOBODY = 65534


def write(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("content")


def test_files_are_listed_in_a_stable_order_with_their_sizes(tmp_path: Path) -> None:
    write(tmp_path, "b", "a/z", "a/b/c")
    listing = list_files(tmp_path, output=tmp_path / "out.zip")

    assert list(listing.sizes.items()) == [("b", 7), ("a/z", 7), ("a/b/c", 7)]
    assert listing.left_out == []


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        "sub/node_modules/a.js",
        "sub/__pycache__/a.pyc",
        "dist/a.whl",
        ".workertoolbox/results.sqlite3",
        f"{PARTS}1/0.zip",
    ],
)
def test_what_tools_make_is_skipped(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "kept")

    assert list(list_files(tmp_path, output=tmp_path / "o").sizes) == ["kept"]


@pytest.mark.parametrize("marker", ["CACHEDIR.TAG", "pyvenv.cfg"])
def test_caches_and_virtual_environments_are_known_by_their_marker(
    tmp_path: Path, marker: str
) -> None:
    write(tmp_path, f"any/{marker}", "any/file", "kept")

    assert list(list_files(tmp_path, output=tmp_path / "o").sizes) == ["kept"]


def test_the_marker_of_the_folder_itself_does_not_empty_it(tmp_path: Path) -> None:
    write(tmp_path, "CACHEDIR.TAG")

    assert list(list_files(tmp_path, output=tmp_path / "o").sizes) == ["CACHEDIR.TAG"]


def test_links_pipes_and_the_archive_itself_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, "kept", "out.zip")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "pipe")
    listing = list_files(tmp_path, output=tmp_path / "out.zip")

    assert list(listing.sizes) == ["kept"]
    assert listing.left_out == []


def test_a_name_that_is_not_utf_8_is_left_out_with_a_note(tmp_path: Path) -> None:
    try:
        write(tmp_path, os.fsdecode(b"caf\xe9"))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    listing = list_files(tmp_path, output=tmp_path / "o")

    assert listing.sizes == {}
    assert listing.left_out == [Row(r"caf\xe9", note="left out: its name is not UTF-8")]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop root's right to read every file, if the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_folder_that_cannot_be_read_is_left_out_with_a_note() -> None:
    # Not in `tmp_path`, whose own folder only its owner may enter.
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "closed").mkdir(mode=0)
        with unprivileged():
            listing = list_files(folder, output=folder / "o")

    assert listing.left_out == [Row("closed", note="left out: Permission denied")]


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="missing' is not a folder"):
        list_files(tmp_path / "missing", output=tmp_path / "o")


@pytest.mark.parametrize(
    ("count", "lengths"),
    [
        (0, []),
        (1, [1]),
        (2, [1, 1]),
        (3, [2, 1]),
        (CHUNK_FILES * 2, [CHUNK_FILES] * 2),
        (CHUNK_FILES * 2 + 1, [34, 34, 33]),
    ],
)
def test_chunks_are_at_least_two_and_of_like_length(
    count: int, lengths: list[int]
) -> None:
    sizes = dict.fromkeys(map(str, range(count)), 1)
    cut = list(chunks(sizes))

    assert [len(chunk) for chunk in cut] == lengths
    assert sum(cut, []) == list(sizes)


def test_a_chunk_ends_before_it_becomes_too_big() -> None:
    sizes = {"a": 1, "b": CHUNK_BYTES, "c": CHUNK_BYTES * 9, "d": 1, "e": 1, "f": 0}

    assert list(chunks(sizes)) == [["a"], ["b"], ["c"], ["d", "e", "f"]]


def test_a_file_that_became_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file any more"):
        open_file(tmp_path / "pipe")


def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, "file")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError):
        open_file(tmp_path / "link")
