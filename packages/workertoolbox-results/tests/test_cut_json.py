"""Decoding of JSON of which only the beginning was read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cadasta.workertoolbox.results._arguments.cut_json import decode_beginning

DOCUMENTS: list[Any] = [
    {"exc_type": "ValueError", "exc_message": ['é\\"x\u2028😀', 1.5e10, True]},
    [1, -2.5, [None, float("inf")], {"a:": {"b,": [-1, "x [y"]}}, {}, []],
    "plain \\u0041 é \\",
    {"k\\": {'\\"': ""}},
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=repr)
@pytest.mark.parametrize("ascii", [True, False])
def test_json_is_decoded_wherever_it_is_cut(document: Any, ascii: bool) -> None:
    encoded = json.dumps(document, ensure_ascii=ascii).encode()
    for length in range(1, len(encoded)):
        assert is_beginning(decode_beginning(encoded[:length]), document)

    assert decode_beginning(encoded) == document


def is_beginning(value: Any, whole: Any) -> bool:
    """Return whether a value is another one, or the beginning of it."""
    match whole:
        case str():
            # Half of a surrogate pair may be left at the end.
            return whole.startswith(value.rstrip("\ud83d"))
        case list():
            return all(map(is_beginning, value, whole))
        case dict():
            keys = list(value)
            return all(
                is_beginning(key, known)
                and (value[key] is None or is_beginning(value[key], whole[known]))
                for key, known in zip(keys, whole, strict=False)
            )
    return bool(value == whole)


@pytest.mark.parametrize("encoded", [b"", b"\x80\x04K", b"plain text", b"12", b"]]"])
def test_what_is_not_json_or_not_complete_is_refused(encoded: bytes) -> None:
    with pytest.raises(ValueError):
        decode_beginning(encoded)
