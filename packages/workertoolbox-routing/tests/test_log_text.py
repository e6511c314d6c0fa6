from __future__ import annotations

from typing import Any

import pytest

from cadasta.workertoolbox.routing._log_text import MAX_LENGTH, log_text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("export.größe 😀", "export.größe 😀"),
        ("a\n[2026-01-01: ERROR] forged", r"a\n[2026-01-01: ERROR] forged"),
        ("\x1b[31m\x9b2J\x07", r"\x1b[31m\x9b2J\x07"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\u2028\x85\r", r"\u2028\x85\r"),
        ("\ud800", r"\ud800"),
        (b"\xff\n\x00", r"\xff\n\x00"),
        (["\n"], r"['\n']"),
        (None, "None"),
    ],
)
def test_text_of_others_is_one_printable_line(value: Any, expected: str) -> None:
    text = log_text(value)

    assert text == expected
    assert text.isprintable()


def test_a_long_text_is_cut_off() -> None:
    text = log_text("x" * 1000)

    assert text == "x" * MAX_LENGTH + "…"


def test_a_deeply_nested_value_has_a_text() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]

    assert log_text(value).isprintable()
