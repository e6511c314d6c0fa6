"""What is hidden of the arguments of a task before they reach the database."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate
from typing import Any

from celery import Celery

from cadasta.workertoolbox.results._errors import InvalidRedaction
from cadasta.workertoolbox.results._headers import DISPLAY_REPRS

#: What stands where something is hidden.
MASK = "********"

#: Names that are hidden in every task, as an argument and as a key at any depth, in
#: upper and in lower case.
SECRET_NAMES = (
    "password",
    "*_password",
    "passwd",
    "secret",
    "*_secret",
    "token",
    "*_token",
    "api_key",
    "apikey",
    "*_api_key",
    "access_key",
    "*_access_key",
    "private_key",
    "authorization",
    "credentials",
    "cookie",
)

_logger = logging.getLogger(__name__)

#: Takes the arguments of a task, and returns those that may be stored.
Redactor = Callable[[list[Any], dict[str, Any]], tuple[list[Any], dict[str, Any]]]

#: What is hidden by name, what by position, and what a function decides.
_Rules = tuple[re.Pattern[str], set[int], list[Redactor]]

#: Names of tasks whose rules are remembered: they come from messages.
MAX_CACHED_TASKS = 10_000


@dataclass(frozen=True)
class Redaction:
    """The rules of a service.

    Args:
        rules: By the name of a task, which may be a glob like `export.*`: a list of
            arguments, each a name, a glob, or a position counted from 0; or a function
            that takes `args` and `kwargs` and returns those that may be stored.
        names_of: Returns the names of a task's positional parameters, as far as they
            are known, so that a name hides an argument that was given by position.

    Raises:
        InvalidRedaction: A rule that is none of these.
    """

    rules: Mapping[str, Sequence[str | int] | Redactor] = field(default_factory=dict)
    parameter_names: Callable[[str], Sequence[str]] = lambda name: ()
    _known: dict[str, _Rules] = field(default_factory=dict, init=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.rules, Mapping):
            raise InvalidRedaction(self.rules)
        for pattern, rule in self.rules.items():
            if not isinstance(pattern, str) or not _is_rule(rule):
                raise InvalidRedaction({pattern: rule})

    @classmethod
    def from_app(cls, app: Celery) -> Redaction:
        """Return the redaction that an app is configured with, as `REDACT`.

        Raises:
            InvalidRedaction: A rule that cannot be understood.
        """

        def parameter_names(name: str) -> Sequence[str]:
            task = app.tasks.get(name)
            return () if task is None else _parameters(task.run)

        return cls(app.conf.get("REDACT") or {}, parameter_names)

    def redact_message(
        self, name: str, args: Any, kwargs: Any, headers: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """Return what may be stored of a message's arguments.

        Args:
            headers: Those of the message; a text that its publisher gave as `argsrepr`
                or `kwargsrepr` wins.
        """
        args, kwargs = self.redact(name, args, kwargs)
        texts = headers.get(DISPLAY_REPRS)
        if isinstance(texts, Mapping):
            given = texts.get("argsrepr"), texts.get("kwargsrepr")
            args = given[0] if isinstance(given[0], str) else args
            kwargs = given[1] if isinstance(given[1], str) else kwargs
        return args, kwargs

    def redact(self, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments of a task without what the rules hide."""
        hides, positions, functions = self._rules_for(name)
        args, kwargs = list(args or ()), dict(kwargs or {})
        for function in functions:
            args, kwargs = _apply(function, name, args, kwargs)
        shown = [
            MASK if position in positions else _inside(value, hides)
            for position, value in enumerate(args)
        ]
        return shown, _inside(kwargs, hides)

    def _rules_for(self, name: str) -> _Rules:
        if (rules := self._known.get(name)) is not None:
            return rules
        named: list[str] = list(SECRET_NAMES)
        positions: set[int] = set()
        functions: list[Redactor] = []
        for pattern, rule in self.rules.items():
            if not fnmatchcase(name, pattern):
                continue
            if callable(rule):
                functions.append(rule)
            else:
                named += [each for each in rule if isinstance(each, str)]
                positions |= {each for each in rule if isinstance(each, int)}
        hides = re.compile("|".join(map(translate, named)), re.IGNORECASE)
        parameters = enumerate(self.parameter_names(name))
        positions |= {number for number, each in parameters if hides.match(each)}
        if len(self._known) < MAX_CACHED_TASKS:
            self._known[name] = hides, positions, functions
        return hides, positions, functions


def _inside(value: Any, hides: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: MASK
            if isinstance(key, str) and hides.match(key)
            else _inside(item, hides)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_inside(item, hides) for item in value]
    return value


def _apply(
    rule: Redactor, name: str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Apply a function of the user's own; hide everything where it fails."""
    try:
        args, kwargs = rule(args, kwargs)
        return list(args), dict(kwargs)
    except Exception:
        _logger.exception("REDACT of task %s failed: its arguments are hidden", name)
        return [MASK], {}


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind
        in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    )


def _is_rule(rule: object) -> bool:
    return callable(rule) or (
        isinstance(rule, Sequence)
        and not isinstance(rule, str | bytes)
        and all(isinstance(each, str | int) for each in rule)
    )
