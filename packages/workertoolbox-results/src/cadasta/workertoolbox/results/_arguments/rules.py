"""The rules of `REDACT` and `REDACT_RESULTS`, and those that apply to one task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase, translate
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._arguments.secret_names import is_secret_name
from cadasta.workertoolbox.results._errors import InvalidRedaction

SecretTest = Callable[[str], object]


class TaskRules(NamedTuple):
    """The rules that apply to one task.

    Attributes:
        is_named: Returns whether a rule names a key; None if no rule names any.
        is_secret: Returns whether a rule names a key, or it is secret in every task.
        positions: Positions of secret arguments.
        redactors: Functions that return what may be stored.
        rest_from: The position from which all arguments are secret, if there is one.
        parameters: The keywords that are not secret if all others are, or None.
    """

    is_named: SecretTest | None
    is_secret: SecretTest
    positions: frozenset[int]
    redactors: tuple[Callable[..., Any], ...]
    rest_from: int | None = None
    parameters: frozenset[str] | None = None

    @property
    def by_position(self) -> bool:
        """Whether a secret can only be found in valid arguments."""
        return bool(self.positions or self.redactors) or self.rest_from is not None

    def hides_position(self, position: int) -> bool:
        """Return whether the argument at a position is secret."""
        is_rest = self.rest_from is not None and position >= self.rest_from
        return is_rest or position in self.positions

    def hides_keyword(self, name: str) -> bool:
        """Return whether a keyword belongs to parameters that are all secret."""
        return self.parameters is not None and name not in self.parameters


def check_rules(setting: str, rules: object) -> None:
    """Check the form of rules.

    Raises:
        InvalidRedaction: A rule is not valid.
    """
    if not isinstance(rules, Mapping):
        raise InvalidRedaction(rules, setting)
    for pattern, rule in rules.items():
        if not isinstance(pattern, str) or not _is_rule(rule):
            raise InvalidRedaction({pattern: rule}, setting)


def select_rules(
    rules: Mapping[str, Any], name: str, parameters: Sequence[str] = ()
) -> TaskRules:
    """Return the rules that apply to the task of a name.

    Args:
        parameters: Names of its parameters, with `*` before that for all further
            positions, and `**` before that for all further keywords.
    """
    matching = [rule for glob, rule in rules.items() if fnmatchcase(name, glob)]
    listed = [each for rule in matching if not callable(rule) for each in rule]
    is_named = _name_test([each for each in listed if isinstance(each, str)])
    is_secret = _either(is_named, is_secret_name)
    positional = _positional(parameters)
    secret = {place for place, each in enumerate(positional) if is_secret(each)}
    rest = next((each for each in parameters if _stars(each) == 1), "*")
    others = next((each for each in parameters if _stars(each) == 2), "**")
    return TaskRules(
        is_named=is_named,
        is_secret=is_secret,
        positions=frozenset(secret.union(_positions(listed))),
        redactors=tuple(filter(callable, matching)),
        rest_from=len(positional) if _names_secrets(rest[1:], is_secret) else None,
        parameters=frozenset(parameters) if is_secret(others[2:]) else None,
    )


def _names_secrets(name: str, is_secret: SecretTest) -> bool:
    """Return whether a name, such as `tokens`, is that of several secrets."""
    return bool(is_secret(name) or is_secret(name.removesuffix("s")))


def _positions(listed: Iterable[str | int]) -> Iterable[int]:
    return (each for each in listed if isinstance(each, int))


def _positional(parameters: Sequence[str]) -> Sequence[str]:
    """Return the parameters before the first star."""
    starred = (place for place, each in enumerate(parameters) if _stars(each))
    return parameters[: next(starred, len(parameters))]


def _stars(parameter: str) -> int:
    return len(parameter) - len(parameter.lstrip("*"))


def _name_test(globs: Sequence[str]) -> SecretTest | None:
    """Return a function that is true for names that match a glob."""
    if not globs:
        return None
    return re.compile("|".join(map(translate, globs)), re.IGNORECASE).match


def _either(first: SecretTest | None, second: SecretTest) -> SecretTest:
    if first is None:
        return second
    return lambda name: second(name) or first(name)


def _is_rule(rule: object) -> bool:
    return callable(rule) or (
        isinstance(rule, Sequence)
        and not isinstance(rule, str | bytes)
        and all(
            isinstance(each, str) or (isinstance(each, int) and each >= 0)
            for each in rule
        )
    )
