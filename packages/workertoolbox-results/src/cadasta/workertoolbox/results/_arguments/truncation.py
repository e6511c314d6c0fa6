"""Truncation of the arguments of a task to the size that is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import accumulate, takewhile
from typing import Any

from celery import Celery

from cadasta.workertoolbox.results._errors import InvalidLimit

#: Default maximum size in bytes, as JSON, of stored `args`, and of stored `kwargs`.
DEFAULT_MAX_BYTES = 64 * 1024

#: Size in bytes from which an argument counts as large. Only large arguments are
#: replaced by marks of their own.
LARGE_ARGUMENT_BYTES = 1024

#: Size in bytes of the smallest possible argument in a list, with its separator.
MIN_ITEM_BYTES = 3

#: Key of the mark that says how many keyword arguments are not stored.
TRUNCATED_KEY = "<truncated>"


def max_argument_bytes(app: Celery) -> int:
    """Return the limit in bytes that an app configures with `MAX_ARGUMENT_BYTES`.

    Raises:
        InvalidLimit: The setting is not a positive integer.
    """
    return byte_limit(app, "MAX_ARGUMENT_BYTES", DEFAULT_MAX_BYTES)


def byte_limit(app: Celery, setting: str, default: int) -> int:
    """Return a limit in bytes that an app configures with a setting.

    Raises:
        InvalidLimit: The setting is not a positive integer.
    """
    limit = app.conf.get(setting)
    if limit is None:
        return default
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise InvalidLimit(limit, setting)
    return limit


def truncate_arguments(
    args: Any, kwargs: Any, max_bytes: int, *, size: int | None = None
) -> tuple[Any, Any]:
    """Return `args` and `kwargs`, each truncated to a maximum size as JSON.

    Args:
        size: The size of both in a list as JSON, if it is known.
    """
    if (_json_size([args, kwargs]) if size is None else size) <= max_bytes:
        return args, kwargs
    return truncate(args, max_bytes), truncate(kwargs, max_bytes)


def truncate(arguments: Any, max_bytes: int) -> Any:
    """Return `args` or `kwargs`, truncated to a maximum size as JSON.

    The largest arguments are replaced by `<truncated: … bytes>` until the rest fits. If
    too many small ones remain, only the first are kept, and a last item says how many
    arguments are left out.

    Args:
        arguments: A list or a dict of JSON values, or a text (`argsrepr`).
        max_bytes: Maximum size in bytes as JSON, not counting the marks.
    """
    size = _json_size(arguments)
    if size <= max_bytes:
        return arguments
    match arguments:
        case dict():
            kept, mark = _truncate_items(arguments.items(), size, max_bytes)
            return dict(kept) | ({TRUNCATED_KEY: mark} if mark else {})
        case list():
            kept, mark = _truncate_items(enumerate(arguments), size, max_bytes)
            return [item for _, item in kept] + ([mark] if mark else [])
    return f"{arguments[: min(LARGE_ARGUMENT_BYTES, max_bytes)]}{_mark(size)}"


def _truncate_items(
    items: Iterable[tuple[Any, Any]], size: int, max_bytes: int
) -> tuple[list[tuple[Any, Any]], str | None]:
    """Return the items to store, with their keys, and a mark for those left out."""
    all_items = list(items)
    # More items cannot fit, and measuring millions of them would take seconds.
    kept = dict(all_items[: max_bytes // MIN_ITEM_BYTES])
    sizes = {key: _json_size(item) for key, item in kept.items()}
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if size <= max_bytes or sizes[key] < LARGE_ARGUMENT_BYTES:
            break
        kept[key] = _mark(sizes[key])
        size -= sizes[key] - _json_size(kept[key])
    pairs = list(kept.items())
    if size > max_bytes:
        pairs = pairs[: _count_fitting(pairs, max_bytes)]
    left_out = all_items[len(pairs) :]
    if not left_out:
        return pairs, None
    return pairs, _mark(_json_size(dict(left_out)), items=len(left_out))


def _count_fitting(pairs: Iterable[tuple[Any, Any]], max_bytes: int) -> int:
    ends = accumulate(_json_size(pair) for pair in pairs)
    return sum(1 for _ in takewhile(lambda end: end <= max_bytes, ends))


def _mark(size: int, *, items: int | None = None) -> str:
    count = "" if items is None else f"{items} arguments, "
    return f"<truncated: {count}{size} bytes>"


# `json.dumps` takes twice as long, as it looks for cycles, which JSON cannot have.
_encode = json.JSONEncoder(check_circular=False).encode


def _json_size(value: Any) -> int:
    return len(_encode(value))
