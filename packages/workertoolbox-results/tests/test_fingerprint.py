"""Which failures have the same fingerprint."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, states
from celery.exceptions import Retry
from celery.utils.serialization import UnpickleableExceptionWrapper

from cadasta.workertoolbox.results._backend import own_frames as own_frames_module
from cadasta.workertoolbox.results._backend.fingerprint import (
    MAX_CAUSES,
    Fingerprint,
    Raised,
    fingerprint,
)


def of(function: Callable[[], Any], *, task: str = "export.fetch") -> Fingerprint:
    """Return the fingerprint of the error that a function raises."""
    try:
        function()
    except BaseException as error:
        return fingerprint(Raised.of(error, states.FAILURE), task, "export")
    raise AssertionError("the function raises nothing")


def key(function: Callable[[], Any], *, message: str = "", **options: Any) -> str:
    return of(function, **options).key(message)


def refuse(message: str = "no") -> None:
    raise ValueError(message)


def refuse_elsewhere() -> None:
    raise ValueError("no")


def call_refuse() -> None:
    refuse()


def recurse(depth: int) -> None:
    if depth == 0:
        refuse()
    recurse_again(depth)


def recurse_again(depth: int) -> None:
    recurse(depth - 1)


def test_a_key_has_the_version_and_16_digits() -> None:
    version, _, digits = key(refuse).partition(":")

    assert version == "1"
    assert len(bytes.fromhex(digits)) == 8


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            Fingerprint(
                "export.fetch",
                ("builtins.KeyError", "builtins.OSError", "builtins.ValueError"),
                (("export.find", "export.fetch"), (), ("export.open",)),
            ),
            "1:19245b1441b8ddde",
        ),
        (
            Fingerprint("export.fetch", ("builtins.OSError",), ((),)),
            "1:3cb754f97d1d701b",
        ),
        (Fingerprint("export.fetch", own_key="declined \udc80"), "1:096479b203ca6512"),
    ],
)
def test_the_key_of_a_group_is_the_same_in_the_next_release(
    found: Fingerprint, expected: str
) -> None:
    # A new key needs a new `VERSION`.
    assert found.key("row 1 is gone") == expected


def test_the_line_and_the_message_do_not_count() -> None:
    def fail(way: str) -> None:
        if way == "first":
            raise ValueError("1")
        raise ValueError("another")

    first, second = (of(partial(fail, way)) for way in ("first", "second"))

    assert first.key("1") == second.key("another")
    assert first.place == (
        f"{__name__}.test_the_line_and_the_message_do_not_count.<locals>.fail"
    )


@pytest.mark.parametrize(
    "other",
    [
        refuse_elsewhere,
        call_refuse,
        lambda: call_refuse(),
    ],
)
def test_another_function_is_another_error(other: Callable[[], Any]) -> None:
    assert key(other) != key(refuse)


def test_another_type_is_another_error() -> None:
    def fail(kind: type[Exception]) -> None:
        raise kind

    assert key(lambda: fail(KeyError)) != key(lambda: fail(ValueError))


def test_the_nearest_functions_count() -> None:
    def near() -> None:
        refuse()

    def middle() -> None:
        near()

    def first() -> None:
        middle()

    def second() -> None:
        middle()

    assert key(first) == key(second)


def test_the_depth_of_a_recursion_does_not_count() -> None:
    frames = of(lambda: recurse(3)).frames

    assert frames == of(lambda: recurse(30)).frames
    assert [each.rpartition(".")[2] for each in frames[0]] == [
        *("refuse", "recurse", "recurse_again"),
    ]


def test_a_comprehension_has_no_function_of_its_own() -> None:
    # Up to Python 3.11 it has a frame.
    def listed() -> None:
        [fail() for fail in (refuse,)]

    assert of(listed).frames[0][1].endswith(".listed")


def test_an_error_in_a_library_has_the_place_of_its_caller() -> None:
    def parse() -> None:
        json.loads("{")

    assert of(parse).place == (
        f"{__name__}.test_an_error_in_a_library_has_the_place_of_its_caller.<locals>.parse"
    )


def in_module(path: str, module: str) -> Callable[[], Any]:
    """Return a function that raises an error, and belongs to a module."""
    space: dict[str, Any] = {"__name__": module}
    exec(compile("def fail():\n    raise ValueError", path, "exec"), space)
    fail: Callable[[], Any] = space["fail"]
    return fail


@pytest.mark.parametrize(
    ("path", "module", "is_own"),
    [
        ("/srv/export/tasks.py", "export.tasks", True),
        ("/venv/lib/python3.12/site-packages/export/tasks.py", "export.tasks", True),
        ("/venv/lib/python3.12/site-packages/export/a/b.py", "export.a.b", True),
        ("/venv/lib/python3.12/site-packages/requests/api.py", "requests.api", False),
        ("/usr/lib/python3/dist-packages/yaml/loader.py", "yaml.loader", False),
        (json.__file__, "json", False),
        ("/src/celery/app/trace.py", "celery.app.trace", False),
        ("/src/celery_export/tasks.py", "celery_export.tasks", True),
        ("<frozen runpy>", "runpy", False),
        ("<string>", "export.tasks", False),
    ],
)
def test_only_code_of_the_service_is_own_code(
    path: str, module: str, is_own: bool
) -> None:
    fail = in_module(path, module)

    # The calling function of this test is own code too.
    assert (f"{module}.fail" in of(fail).frames[0]) is is_own


def test_without_own_code_the_shape_of_the_message_counts() -> None:
    found = fingerprint(
        Raised(KeyError("a"), None, None), "export.fetch", package="export"
    )

    assert found.place is None
    assert found.key("row 1 of 'a'") == found.key("row 23 of 'b'")
    assert found.key("row 1 of 'a'") != found.key("column 1 of 'a'")


def test_without_own_code_the_task_counts() -> None:
    first, second = (
        fingerprint(Raised(OSError(), None, None), task, "export").key("killed")
        for task in ("export.fetch", "export.bundle")
    )

    assert first != second


def test_a_soft_time_limit_is_one_error_of_a_task_wherever_it_interrupts() -> None:
    def fetch() -> None:
        raise SoftTimeLimitExceeded

    def parse() -> None:
        raise SoftTimeLimitExceeded

    assert key(fetch) == key(parse)
    assert key(fetch) != key(fetch, task="export.bundle")


def test_a_soft_time_limit_keeps_its_type_and_the_key_of_the_service() -> None:
    limit = Raised(SoftTimeLimitExceeded(), None, None)
    found = fingerprint(limit, "export.fetch", "export", own_key="slow")

    assert found.types == ("billiard.exceptions.SoftTimeLimitExceeded",)
    assert found.own_key == "slow"


def test_a_wrapper_of_an_error_that_cannot_be_pickled_has_the_type_of_the_error() -> (
    None
):
    wrapper = UnpickleableExceptionWrapper("export.errors", "Declined", (), "no")
    found = fingerprint(Raised(wrapper, None, None), "export.fetch", "export")

    assert found.types == ("export.errors.Declined",)


def wrapped(cause: Callable[[], Any], *, hidden: bool = False) -> None:
    try:
        cause()
    except Exception as error:
        raise RuntimeError("wrapped") from None if hidden else error


def test_the_cause_of_an_error_counts() -> None:
    assert key(lambda: wrapped(refuse)) == key(lambda: wrapped(refuse))
    assert key(lambda: wrapped(refuse)) != key(lambda: wrapped(refuse_elsewhere))


def test_the_context_of_an_error_does_not_count() -> None:
    first = key(lambda: wrapped(refuse, hidden=True))

    assert first == key(lambda: wrapped(refuse_elsewhere, hidden=True))


def test_the_first_exception_of_a_group_counts() -> None:
    def gather(kind: type[Exception]) -> None:
        raise ExceptionGroup("several", [kind(), OSError()])

    assert key(lambda: gather(KeyError)) != key(lambda: gather(ValueError))


def test_a_long_chain_of_causes_is_cut_off() -> None:
    def chain() -> None:
        error = ValueError("first")
        for _ in range(1000):
            later = ValueError("later")
            later.__cause__ = error
            error = later
        raise error

    assert len(of(chain).types) == MAX_CAUSES


def test_causes_in_a_circle_count_once() -> None:
    def fail() -> None:
        first, second = ValueError("first"), KeyError("second")
        first.__cause__, second.__cause__ = second, first
        raise first

    assert of(fail).types == ("builtins.ValueError", "builtins.KeyError")


def test_an_error_that_two_retries_raise_again_has_the_place_of_the_first() -> None:
    app: Any = Celery(set_as_current=False)
    task = app.task(refuse, name="export.fetch", shared=False)
    task.push_request(retries=task.max_retries, called_directly=False, args=())

    def first() -> None:
        task.retry(exc=ValueError("never raised before"))

    def second() -> None:
        try:
            first()
        except ValueError as error:
            task.retry(exc=error)

    assert (of(second).place or "").endswith(".first")


def test_an_error_that_a_retry_raises_again_keeps_its_fingerprint() -> None:
    app: Any = Celery(set_as_current=False)
    task = app.task(refuse, name="export.fetch", shared=False)
    task.push_request(retries=task.max_retries, called_directly=False, args=())

    retried: list[Fingerprint] = []

    def handle(error: Exception) -> None:
        retried.append(fingerprint(Raised.of(error, states.RETRY), "a", "export"))
        task.retry(exc=error)

    def run() -> None:
        try:
            refuse()
        except ValueError as error:
            handle(error)

    failed = of(run)

    assert failed.frames == retried[0].frames


class Declined(ValueError):
    """An error that cannot be pickled, but its base can."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)


class Refused(Exception):
    """An error that cannot be pickled, nor can a base of it stand in."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)


@pytest.mark.parametrize(
    ("kind", "substitute"),
    [(Declined, "ValueError"), (Refused, "UnpickleableExceptionWrapper")],
)
def test_a_retry_has_the_error_for_which_celery_passes_a_substitute(
    kind: type[Declined] | type[Refused], substitute: str
) -> None:
    try:
        try:
            raise kind(reason="no") from OSError("disk")
        except kind as declined:
            raise Retry(exc=declined) from None
    except Retry as retry:
        error: Any = retry.exc
        raised = Raised.of(error, states.RETRY)
        original = retry.__context__

    assert type(error).__name__ == substitute
    assert raised.error is original
    assert raised.traceback is not None
    assert raised.traceback is original.__traceback__
    assert raised.cause is original.__cause__


@pytest.mark.parametrize("handled", [None, ValueError("handled")])
def test_a_retry_for_an_error_that_was_not_raised_has_the_place_of_the_retry(
    handled: Exception | None,
) -> None:
    error = OSError("later")
    try:
        try:
            if handled is not None:
                raise handled
        finally:
            raise Retry(exc=error)
    except Retry as retry:
        raised = Raised.of(error, states.RETRY)
        place = retry.__traceback__

    assert place is not None
    assert raised == Raised(error, place, handled)


def test_a_failure_has_the_error_for_which_celery_passes_a_substitute() -> None:
    try:
        raise Declined(reason="no") from OSError("disk")
    except Declined as declined:
        copied = ValueError("no").with_traceback(declined.__traceback__)
        raised = Raised.of(copied, states.FAILURE)

        assert raised == Raised(declined, declined.__traceback__, declined.__cause__)


@pytest.mark.parametrize("kind", [ValueError, Retry])
def test_another_error_than_the_handled_one_is_stored_as_it_is(
    kind: type[Exception],
) -> None:
    error = OSError("stored")
    try:
        raise kind("handled")
    except kind:
        raised = Raised.of(error, states.FAILURE)

    assert raised == Raised(error, None, None)


def test_a_retry_that_is_not_handled_any_more_stores_its_error_as_it_is() -> None:
    error = OSError("stored")
    try:
        raise ValueError("handled")
    except ValueError:
        raised = Raised.of(error, states.RETRY)

    assert raised == Raised(error, None, None)


class HostileMeta(type):
    """A class that hides its name."""

    def __getattribute__(cls, name: str) -> Any:
        if name in ("__dict__", "__module__", "__name__", "__qualname__"):
            raise RuntimeError(name)
        return super().__getattribute__(name)


class Hostile(Exception):
    """An error with attributes that fail."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class Nameless(Exception, metaclass=HostileMeta):
    """An error of a class without a name."""


class WithoutModule(Exception):
    """An error with a module that is not a text."""


WithoutModule.__module__ = 5  # type: ignore[assignment]


@pytest.mark.parametrize(
    "kind", [Hostile, Nameless, WithoutModule], ids=["Hostile", "Nameless", "Module"]
)
def test_a_hostile_exception_has_a_fingerprint(kind: type[Exception]) -> None:
    def fail() -> None:
        raise kind

    assert key(fail) == key(fail)
    assert of(fail).types[0].endswith(type.__dict__["__qualname__"].__get__(kind))


def test_a_hostile_module_has_a_fingerprint() -> None:
    class Globals(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise RuntimeError

    space = Globals(__name__=5)
    exec(compile("def fail():\n    raise ValueError", "/srv/a.py", "exec"), space)

    assert of(dict.__getitem__(space, "fail")).frames[0][0] == ".fail"


def test_the_time_for_thousands_of_frames_is_bounded() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        begun_at = time.process_time()
        found = of(lambda: recurse(10_000))
    finally:
        sys.setrecursionlimit(limit)

    assert time.process_time() - begun_at < 2
    assert found.frames[0][:2] == (f"{__name__}.refuse", f"{__name__}.recurse")


def test_a_recursion_error_in_a_library_has_the_place_of_its_caller() -> None:
    nested: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        nested = [nested]

    def copy_all() -> None:
        copy.deepcopy(nested)

    assert of(copy_all).types == ("builtins.RecursionError",)
    assert (of(copy_all).place or "").endswith("copy_all")


def test_the_folder_of_the_standard_library_contains_its_modules() -> None:
    library = Path(own_frames_module._STANDARD_LIBRARY)

    assert Path(json.__file__).is_relative_to(library)
