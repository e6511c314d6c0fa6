"""The demo with wrong arguments; the shared suite runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "demo.py"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "demo: 'missing' is not a folder\n"),
        (
            [".", "--output", "."],
            "demo: '.' is a folder; give the path of a zip file\n",
        ),
    ],
)
def test_a_wrong_call_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    command = [sys.executable, str(DEMO), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert list(tmp_path.iterdir()) == []
