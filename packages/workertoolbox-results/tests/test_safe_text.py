"""Text of other people on terminals and in logs."""

from __future__ import annotations

import json
import sys

import pytest

from cadasta.workertoolbox.results._safe_text import json_text, log_text, terminal_text

DANGEROUS = [
    *(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))),
    *"\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069\ufeff",
    *"\u034f\u061c\u115f\u180e\u2800\u3164\ufe0f\uffa0\U000e0001\U000e0100\ud800",
]


@pytest.mark.parametrize("character", DANGEROUS, ids=lambda each: f"{ord(each):x}")
def test_a_dangerous_character_becomes_an_escape(character: str) -> None:
    text = f"a{character}b"

    for shown in (terminal_text(text), log_text(text), json_text(text)):
        assert character not in shown
        assert "\\" in shown
    assert json.loads(json_text({text: [text]})) == {text: [text]}


@pytest.mark.parametrize("text", ["", "a b", "é漢字😀", "[bold]:smile:", r"\x1b"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert terminal_text(text) == log_text(text) == text
    assert json_text(text) == json.dumps(text, ensure_ascii=False)


def test_every_character_is_one_line_and_exact_in_json() -> None:
    text = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = json_text(text)

    assert len(shown.splitlines()) == 1
    assert len(terminal_text(text).splitlines()) == 1
    assert json.loads(shown) == json.loads(json.dumps(text))


def test_a_long_text_is_cut_off_in_a_log() -> None:
    assert len(log_text("x" * 5000)) == 1001
