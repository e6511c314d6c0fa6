"""Which frames of a traceback are the service's own, by their files."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from cadasta.workertoolbox.results.web.wording.traceback_text import read_traceback


def lines_of(*files: str) -> str:
    frames = [f'  File "{file}", line 3, in f\n    g()\n    ^^^' for file in files]
    return "\n".join(["Traceback (most recent call last):", *frames, "ValueError: x"])


@pytest.mark.parametrize(
    ("file", "owner"),
    [
        ("/srv/shop/tasks.py", None),
        ("C:\\srv\\shop\\tasks.py", None),
        ("/usr/lib/python3/dist-packages/redis/client.py", "redis"),
        ("/opt/venv/lib/python3.12/site-packages/celery/app/trace.py", "celery"),
        ("/opt/venv/lib/python3.12/site-packages/six.py", "six"),
        ("/opt/venv/lib/python3.12/site-packages/shop/tasks.py", None),
        ("/usr/lib/python3.13/json/decoder.py", "Python"),
        ("/usr/lib64/python3.13t/json/decoder.py", "Python"),
        ("C:\\Python312\\Lib\\json\\decoder.py", "Python"),
        ("<frozen importlib._bootstrap>", "Python"),
        ("/src/cadasta/workertoolbox/results/backend.py", "cadasta.workertoolbox"),
        (
            "/x/site-packages/cadasta/workertoolbox/conf/_setup.py",
            "cadasta.workertoolbox",
        ),
    ],
)
def test_a_file_decides_what_a_frame_belongs_to(file: str, owner: str | None) -> None:
    parts = read_traceback(lines_of(file), "shop.tasks.pay").parts

    assert [each.text for each in parts if not each.is_own and not each.frames] == [
        "Traceback (most recent call last):",
        "ValueError: x",
    ]
    [frame] = [each for each in parts if each.is_own or each.frames]
    assert frame.is_own == (owner is None)
    assert [*frame.owners] == ([] if owner is None else [owner])


def test_successive_frames_of_others_are_one_part() -> None:
    celery = "/x/site-packages/celery/app/trace.py"
    text = lines_of(celery, "/usr/lib/python3.12/json/a.py", "/srv/a.py", celery)
    read = read_traceback(text, "shop.pay")

    assert [each.frames for each in read.parts] == [0, 2, 0, 1, 0]
    assert [*read.parts[1].owners] == ["celery", "Python"]
    assert read.place == "/srv/a.py:3 in f"
    assert "\n".join(each.text for each in read.parts) == text


def test_the_text_stays_whole_whatever_it_is() -> None:
    for text in ("", "x", "  File", "\n\n", '  File "a", line 1, in b\n\x0b\u2028c'):
        parts = read_traceback(text, None).parts

        assert "\n".join(each.text for each in parts) == text.rstrip("\n")


def test_frames_in_groups_of_exceptions_are_found() -> None:
    try:
        try:
            raise ValueError("inner")
        except ValueError as inner:
            raise ExceptionGroup("outer", [inner, KeyError("k")]) from inner
    except ExceptionGroup as error:
        text = "".join(traceback.format_exception(error))
    read = read_traceback(text, "tests")

    assert read.place is not None
    assert Path(read.place.partition(":")[0]).name == Path(__file__).name
    own = [each.text for each in read.parts if each.is_own]
    assert len(own) == 3
    assert all("raise" in each for each in own)


def test_repeated_lines_belong_to_their_frame() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/srv/a.py", line 1, in f\n    f()\n'
        "  [Previous line repeated 9 more times]\nRecursionError: deep"
    )
    parts = read_traceback(text, "a").parts

    assert [each.is_own for each in parts] == [False, True, False]
