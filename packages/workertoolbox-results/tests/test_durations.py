from __future__ import annotations

import pytest

from cadasta.workertoolbox.results import DURATION_FORM, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("0.5", 0.5),
        (".5", 0.5),
        ("0", 0),
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        (" 1.5 h ", 5_400),
        ("2d", 172_800),
        ("2w", 1_209_600),
    ],
)
def test_a_number_is_in_seconds_or_in_the_unit_that_follows(
    text: str, seconds: float
) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "long", "h", "-1", "2 hours", "1h30", "1.2.3s", "nan", "inf", "1M"]
)
def test_any_other_text_is_an_error_that_shows_the_value_and_the_form(
    text: str,
) -> None:
    with pytest.raises(ValueError, match="is not a duration") as caught:
        parse_duration(text)

    assert str(caught.value) == f"{text!r} is not a duration; write {DURATION_FORM}"


def test_the_form_names_every_unit() -> None:
    assert "(ms, s, m, h, d, w)" in DURATION_FORM
