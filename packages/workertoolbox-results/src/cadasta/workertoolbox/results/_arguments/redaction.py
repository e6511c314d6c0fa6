"""Rules that say which arguments of a task are secret, and the masking of these.

Arguments are redacted before they are stored in the database.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate
from typing import Any, NamedTuple

from celery import Celery

from cadasta.workertoolbox.results._arguments.secret_names import is_secret_name
from cadasta.workertoolbox.results._errors import InvalidRedaction
from cadasta.workertoolbox.results._headers import DISPLAY_REPRS

#: The text that replaces a secret value.
MASK = "********"

#: Maximum number of task names whose rules are cached: names come from messages, so
#: their number is unlimited.
MAX_CACHED_TASKS = 10_000

_logger = logging.getLogger(__name__)

#: A function that takes `args` and `kwargs` and returns those that may be stored.
Redactor = Callable[[list[Any], dict[str, Any]], tuple[list[Any], dict[str, Any]]]


class _TaskRules(NamedTuple):
    """The rules that apply to one task."""

    is_secret: Callable[[str], object]
    secret_positions: set[int]
    redactors: list[Redactor]


@dataclass(frozen=True)
class Redaction:
    """The redaction rules of a service.

    Args:
        rules: A mapping from the name of a task, or a glob like `export.*`, to either a
            list of secret arguments or a function. A list contains names, globs, and
            positions counted from 0. A function takes `args` and `kwargs` and returns
            those that may be stored.
        parameter_names: A function that takes the name of a task and returns the names
            of its positional parameters, or none if the task is unknown. With it, a
            name also masks an argument that is passed by position.

    Raises:
        InvalidRedaction: A rule is not of that form.
    """

    rules: Mapping[str, Sequence[str | int] | Redactor] = field(default_factory=dict)
    parameter_names: Callable[[str], Sequence[str]] = lambda name: ()
    _rules_by_task: dict[str, _TaskRules] = field(
        default_factory=dict, init=False, compare=False
    )

    def __post_init__(self) -> None:
        if not isinstance(self.rules, Mapping):
            raise InvalidRedaction(self.rules)
        for pattern, rule in self.rules.items():
            if not isinstance(pattern, str) or not _is_rule(rule):
                raise InvalidRedaction({pattern: rule})

    @classmethod
    def from_app(cls, app: Celery) -> Redaction:
        """Return the redaction that an app configures with `REDACT`.

        Raises:
            InvalidRedaction: A rule of `REDACT` is invalid.
        """

        def parameter_names(name: str) -> Sequence[str]:
            task = app.tasks.get(name)
            return () if task is None else _positional_parameters(task.run)

        return cls(app.conf.get("REDACT") or {}, parameter_names)

    def redact_message(
        self, name: str, args: Any, kwargs: Any, headers: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """Return the arguments of a message in the form that may be stored.

        Args:
            name: The name of the task.
            headers: The headers of the message. A text that the publisher gave as
                `argsrepr` or `kwargsrepr` is stored instead of the arguments.
        """
        args, kwargs = self.redact(name, args, kwargs)
        reprs = headers.get(DISPLAY_REPRS)
        if isinstance(reprs, Mapping):
            argsrepr, kwargsrepr = reprs.get("argsrepr"), reprs.get("kwargsrepr")
            args = argsrepr if isinstance(argsrepr, str) else args
            kwargs = kwargsrepr if isinstance(kwargsrepr, str) else kwargs
        return args, kwargs

    def redact(self, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments of a task with secret values masked."""
        rules = self._rules_for(name)
        args, kwargs = list(args or ()), dict(kwargs or {})
        for redactor in rules.redactors:
            args, kwargs = _call_redactor(redactor, name, args, kwargs)
        masked = [
            MASK
            if position in rules.secret_positions
            else _mask_keys(value, rules.is_secret)
            for position, value in enumerate(args)
        ]
        return masked, _mask_keys(kwargs, rules.is_secret)

    def _rules_for(self, name: str) -> _TaskRules:
        if (cached := self._rules_by_task.get(name)) is not None:
            return cached
        globs: list[str] = []
        positions: set[int] = set()
        redactors: list[Redactor] = []
        for pattern, rule in self.rules.items():
            if not fnmatchcase(name, pattern):
                continue
            if callable(rule):
                redactors.append(rule)
            else:
                globs += [each for each in rule if isinstance(each, str)]
                positions |= {each for each in rule if isinstance(each, int)}
        is_secret = _secret_test(globs)
        parameters = enumerate(self.parameter_names(name))
        positions |= {number for number, each in parameters if is_secret(each)}
        rules = _TaskRules(is_secret, positions, redactors)
        if len(self._rules_by_task) < MAX_CACHED_TASKS:
            self._rules_by_task[name] = rules
        return rules


def _secret_test(globs: Sequence[str]) -> Callable[[str], object]:
    """Return a function that is true for names that are secret, or match a glob."""
    if not globs:
        return is_secret_name
    pattern = re.compile("|".join(map(translate, globs)), re.IGNORECASE)
    return lambda name: is_secret_name(name) or pattern.match(name)


def _mask_keys(value: Any, is_secret: Callable[[str], object]) -> Any:
    """Return a value in which the items of secret keys are masked, at any depth."""
    if isinstance(value, dict):
        return {
            key: MASK
            if isinstance(key, str) and is_secret(key)
            else _mask_keys(item, is_secret)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_mask_keys(item, is_secret) for item in value]
    return value


def _call_redactor(
    redactor: Redactor, name: str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Call a function of `REDACT`; mask all arguments if it fails."""
    try:
        args, kwargs = redactor(args, kwargs)
        return list(args), dict(kwargs)
    except Exception:
        _logger.exception(
            "REDACT function of task %s failed; all its arguments are masked", name
        )
        return [MASK], {}


def _positional_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
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
