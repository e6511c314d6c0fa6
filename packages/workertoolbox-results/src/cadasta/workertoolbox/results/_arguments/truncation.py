"""How much is stored of the arguments of a task."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import accumulate, takewhile
from typing import Any

from celery import Celery

from cadasta.workertoolbox.results._errors import InvalidLimit

#: Most bytes, as JSON, that are stored of `args`, and of `kwargs`.
DEFAULT_MAX_BYTES = 64 * 1024

#: Bytes from which an argument is large: smaller ones are kept whole as long as all
#: of them fit.
LARGE_ARGUMENT_BYTES = 1024

#: Bytes of the smallest argument in a list, with what separates it from the next.
MIN_ITEM_BYTES = 3

#: The key of what says how many keyword arguments are not stored.
TRUNCATED_KEY = "<truncated>"


def max_argument_bytes(app: Celery) -> int:
    """Return the limit that an app is configured with, as `MAX_ARGUMENT_BYTES`.

    Raises:
        InvalidLimit: It is no number of bytes.
    """
    limit = app.conf.get("MAX_ARGUMENT_BYTES")
    if limit is None:
        return DEFAULT_MAX_BYTES
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise InvalidLimit(limit)
    return limit


def truncate_arguments(args: Any, kwargs: Any, max_bytes: int) -> tuple[Any, Any]:
    """Return `args` and `kwargs`, or as much of each as is stored."""
    if _size([args, kwargs]) <= max_bytes:
        return args, kwargs
    return truncate(args, max_bytes), truncate(kwargs, max_bytes)


def truncate(arguments: Any, max_bytes: int) -> Any:
    """Return `args` or `kwargs`, or as much of them as is stored.

    The largest arguments are replaced by `<truncated: … bytes>` until the rest fits.
    Where too many small ones are left, the first stay, and a last one tells of the
    others.

    Args:
        arguments: A list or a dict of JSON values, or the text that is shown instead.
        max_bytes: Most bytes of it as JSON; what marks a cut comes on top.
    """
    size = _size(arguments)
    if size <= max_bytes:
        return arguments
    match arguments:
        case dict():
            kept, rest = _truncated_items(arguments.items(), size, max_bytes)
            return dict(kept) | ({TRUNCATED_KEY: rest} if rest else {})
        case list():
            kept, rest = _truncated_items(enumerate(arguments), size, max_bytes)
            return [item for _, item in kept] + ([rest] if rest else [])
    return f"{arguments[: min(LARGE_ARGUMENT_BYTES, max_bytes)]}{_mark(size)}"


def _truncated_items(
    items: Iterable[tuple[Any, Any]], size: int, max_bytes: int
) -> tuple[list[tuple[Any, Any]], str | None]:
    """Return the items that are stored, by their keys, and the mark of the others."""
    whole = list(items)
    # No more can be kept, and measuring millions takes seconds.
    kept = dict(whole[: max_bytes // MIN_ITEM_BYTES])
    sizes = {key: _size(item) for key, item in kept.items()}
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if size <= max_bytes or sizes[key] < LARGE_ARGUMENT_BYTES:
            break
        kept[key] = _mark(sizes[key])
        size -= sizes[key] - _size(kept[key])
    pairs = list(kept.items())
    if size > max_bytes:
        pairs = pairs[: _how_many_fit(pairs, max_bytes)]
    rest = whole[len(pairs) :]
    return pairs, _mark(_size(dict(rest)), items=len(rest)) if rest else None


def _how_many_fit(pairs: Iterable[tuple[Any, Any]], max_bytes: int) -> int:
    ends = accumulate(_size(pair) for pair in pairs)
    return sum(1 for _ in takewhile(lambda end: end <= max_bytes, ends))


def _mark(size: int, *, items: int | None = None) -> str:
    count = "" if items is None else f"{items} arguments, "
    return f"<truncated: {count}{size} bytes>"


def _size(value: Any) -> int:
    return len(json.dumps(value))
