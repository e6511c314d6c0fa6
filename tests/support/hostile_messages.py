"""Messages that end a plain Celery worker, or may in another of its pools."""

from __future__ import annotations

from typing import Any

#: Nesting that a user's JSON may have.
LEVELS = (150, 330, 500, 900)

_TASK = {"id": "hostile", "task": "export.note"}


def nested(levels: int) -> Any:
    """Return a list in a list, and so on."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _headers(**changes: Any) -> tuple[dict[str, Any], Any]:
    return {**_TASK, **changes}, [[], {}, {}]


def _embedded(**changes: Any) -> tuple[dict[str, Any], Any]:
    return _TASK, [[], {}, changes]


#: Values of a wrong type for every header.
ODD: tuple[Any, ...] = (7, -1, 1.5, True, [], [[]], ["x"], {}, {"a": 1}, "", 2**70)

#: Headers that Celery reads.
NAMES = (
    "argsrepr",
    "callbacks",
    "chain",
    "chord",
    "errbacks",
    "eta",
    "expires",
    "group",
    "group_index",
    "headers",
    "ignore_result",
    "kwargsrepr",
    "lang",
    "meth",
    "origin",
    "parent_id",
    "replaced_task_nesting",
    "retries",
    "root_id",
    "shadow",
    "stamped_headers",
    "stamps",
    "timelimit",
)

#: Attributes and methods of Celery's request.
ATTRIBUTES = (
    "__class__",
    "__dict__",
    "_children",
    "_protected",
    "as_execution_options",
    "called_directly",
    "children",
    "clear",
    "delivery_info",
    "execution_options",
    "get",
    "is_eager",
    "loglevel",
    "reply_to",
    "task_id",
    "update",
    "utc",
)

HOSTILE: tuple[tuple[dict[str, Any], Any], ...] = (
    *((_TASK, [[nested(levels)], {}, {}]) for levels in LEVELS),
    *((_TASK, [[], {"a": nested(levels)}, {}]) for levels in LEVELS),
    *((_TASK, [[], {}, {"chord": nested(levels)}]) for levels in LEVELS),
    *(_headers(baggage=nested(levels)) for levels in LEVELS),
    *(_headers(task="export.unknown", baggage=nested(levels)) for levels in LEVELS),
    *(_headers(**{name: value}) for name in NAMES for value in ODD),
    *(_embedded(**{name: value}) for name in NAMES for value in ODD),
    *(_headers(**{name: value}) for name in ATTRIBUTES for value in ODD[:3]),
    *(_embedded(**{name: value}) for name in ATTRIBUTES for value in ODD[:3]),
    *(
        _headers(timelimit=limits)
        for limits in (
            [1e400, None],
            [None, -1e400],
            [float("nan"), 1],
            [10**400, None],
            [1e308, 1e308],
            [True, False],
        )
    ),
    *(
        _headers(**{name: value})
        for name in ("eta", "expires")
        for value in (
            "0001-01-01T00:00:00",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59",
            "9999-12-31T23:59:59-23:59",
            "10000-01-01",
            "\0",
        )
    ),
    *(_headers(**{name: "\0"}) for name in ("id", "task", "root_id", "shadow")),
    *(_headers(**{name: "x" * 2000}) for name in ("id", "task", "root_id", "group")),
    _headers(task="export.unknown", id="\0"),
    _headers(task="export.unknown", id="x" * 2000),
    _headers(task="export.unknown\ud800"),
    _headers(task=""),
    _headers(stamped_headers=[[]], stamps={}),
    _headers(stamped_headers=[{}], stamps={}),
    _headers(stamped_headers=["a"], stamps=["a"]),
    _headers(stamped_headers="ab", stamps={"a": 1}),
    _headers(expires="2020-01-01T00:00:00", stamped_headers=1),
    _headers(expires="2020-01-01T00:00:00", chord=1),
    _headers(expires="2020-01-01T00:00:00", group={}),
    (
        {**_TASK, "expires": "2020-01-01T00:00:00"},
        [[], {}, {"chord": 1, "errbacks": 5, "chain": 5}],
    ),
    (
        {**_TASK, "expires": "2020-01-01T00:00:00"},
        [[], {}, {"errbacks": [5], "chain": [5]}],
    ),
    (_TASK, [5, {}, {}]),
    (_TASK, [[], 5, {}]),
    (_TASK, [[], [], {}]),
    (_TASK, ["args", {}, {}]),
    (_TASK, ["x", {}, {}]),
    (_TASK, [["args"], {}, {}]),
    (_TASK, [[], {}, [["task", 5]]]),
    *(
        (_TASK, [[], {}, {name: [value]}])
        for name in ("callbacks", "errbacks", "chain")
        for value in (
            5,
            None,
            {},
            {"task": 5},
            {"task": "export.note"},
            {"task": "export.note", "args": 5, "kwargs": 5, "options": 5},
            {"task": "celery.chord", "args": [], "kwargs": {}, "options": {}},
            {"task": "celery.group", "kwargs": {"tasks": 5}, "subtask_type": "group"},
            {"task": "x", "subtask_type": "chain", "kwargs": {"tasks": [5]}},
            {"task": "x", "subtask_type": ["x"], "options": {"link": 5}},
        )
    ),
)
