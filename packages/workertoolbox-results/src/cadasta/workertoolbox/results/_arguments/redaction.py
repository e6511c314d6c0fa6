"""Rules that say which parts of a task are secret, and their application.

Arguments, results and errors are redacted before they are stored in the database.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from celery.states import EXCEPTION_STATES

from cadasta.workertoolbox.results._arguments.known_secrets import (
    KnownSecrets,
    leaves,
)
from cadasta.workertoolbox.results._arguments.masking import MAPPING_TASKS, Masking
from cadasta.workertoolbox.results._arguments.redactors import (
    Redactor,
    ResultRedactor,
    redact_arguments,
    redact_text,
    redact_value,
)
from cadasta.workertoolbox.results._arguments.rules import (
    TaskRules,
    check_rules,
    select_rules,
)
from cadasta.workertoolbox.results._arguments.secret_texts import MASK, mask_text
from cadasta.workertoolbox.results._headers import DISPLAY_REPRS

#: Maximum number of task names whose rules are cached: names come from messages, so
#: their number is unlimited.
MAX_CACHED_TASKS = 10_000


@dataclass(frozen=True)
class Redaction:
    """The redaction rules of a service.

    Args:
        rules: A mapping from the name of a task, or a glob like `export.*`, to either a
            list of secret arguments or a function. A list contains names, globs, and
            positions counted from 0. A function takes `args` and `kwargs` and returns
            those that may be stored.
        parameter_names: A function that takes the name of a task and returns the names
            of its parameters, or none if the task is unknown. With it, a name also
            masks an argument that is passed by position. One star before a name says
            that it takes all further positions, two stars that it takes all further
            keywords, and parameters after a star are keywords only.
        result_rules: Rules of the same form for results and errors. A list contains
            names of keys, globs, and positions in a list or in the arguments of an
            exception. A function takes a result, or a text of an error, and returns
            what may be stored.

    Raises:
        InvalidRedaction: A rule is not of that form.
    """

    rules: Mapping[str, Sequence[str | int] | Redactor] = field(default_factory=dict)
    parameter_names: Callable[[str], Sequence[str]] = lambda name: ()
    result_rules: Mapping[str, Sequence[str | int] | ResultRedactor] = field(
        default_factory=dict
    )
    _rules: dict[str, TaskRules] = field(
        default_factory=dict, init=False, compare=False
    )
    _result_rules: dict[str, TaskRules] = field(
        default_factory=dict, init=False, compare=False
    )

    def __post_init__(self) -> None:
        check_rules("REDACT", self.rules)
        check_rules("REDACT_RESULTS", self.result_rules)

    @classmethod
    def from_app(cls, app: Celery) -> Redaction:
        """Return the redaction that an app configures.

        Its settings are `REDACT` for arguments, and `REDACT_RESULTS`.

        Raises:
            InvalidRedaction: A rule is invalid.
        """

        def parameter_names(name: str) -> Sequence[str]:
            task = app.tasks.get(name)
            return () if task is None else tuple(_parameters(task.run))

        return cls(
            app.conf.get("REDACT") or {},
            parameter_names,
            app.conf.get("REDACT_RESULTS") or {},
        )

    def redact_message(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        headers: Mapping[str, Any],
        *,
        hidden: list[Any] | None = None,
        unshown: list[Any] | None = None,
    ) -> tuple[Any, Any]:
        """Return the arguments of a message in the form that may be stored.

        Args:
            name: The name of the task.
            headers: The headers of the message. A text that the publisher gave as
                `argsrepr` or `kwargsrepr` is stored instead of the arguments.
            hidden: List to which every masked value is added.
            unshown: List to which every value is added that such a text leaves out.
        """
        unshown = [] if unshown is None else unshown
        shown_args, shown_kwargs = self.redact(name, args, kwargs, hidden=hidden)
        reprs = headers.get(DISPLAY_REPRS)
        if isinstance(reprs, Mapping):
            argsrepr, kwargsrepr = reprs.get("argsrepr"), reprs.get("kwargsrepr")
            if isinstance(argsrepr, str):
                unshown += _leaves_missing_in(argsrepr, args)
                shown_args = argsrepr
            if isinstance(kwargsrepr, str):
                unshown += _leaves_missing_in(kwargsrepr, kwargs)
                shown_kwargs = kwargsrepr
        return shown_args, shown_kwargs

    def redact(
        self, name: str, args: Any, kwargs: Any, *, hidden: list[Any] | None = None
    ) -> tuple[Any, Any]:
        """Return the arguments of a task with secret values masked.

        A secret is masked where it appears again in another argument, too.

        Args:
            hidden: List to which every masked value is added.
        """
        found: list[Any] = []
        args, kwargs = self._mask_arguments(name, args, kwargs, found)
        if not found:
            return args, kwargs
        if hidden is not None:
            hidden += found
        secrets = KnownSecrets.of(found)
        return secrets.mask(args), secrets.mask(kwargs)

    def redact_result(
        self, name: str, result: Any, *, status: str, secrets: KnownSecrets
    ) -> Any:
        """Return a result, or what is stored of an exception, with secrets masked.

        Args:
            name: The name of the task.
            result: A JSON value; of an exception, an object with `exc_message`.
            status: The status that it belongs to.
            secrets: The secrets of the task's arguments.
        """
        rules = self.result_rules_of(name)
        match result:
            case {"exc_message": [*parts]} if status in EXCEPTION_STATES:
                called = [redact_text(rules, name, part) for part in parts]
                result = {**result, "exc_message": _mask_items(rules, called)}
            case {"exc_message": message} if status in EXCEPTION_STATES:
                called = [redact_text(rules, name, message)]
                result = {**result, "exc_message": _mask_items(rules, called)[0]}
            case _:
                for redactor in rules.redactors:
                    result = redact_value(redactor, name, result)
                result = _mask_result(rules, result)
        return secrets.mask(result)

    @property
    def has_functions(self) -> bool:
        """Whether the arguments of any task are redacted by a function."""
        return any(map(callable, self.rules.values()))

    @property
    def has_result_rules(self) -> bool:
        """Whether the results of any task are redacted by a rule."""
        return bool(self.result_rules)

    def redact_traceback(self, name: str, text: str, *, secrets: KnownSecrets) -> str:
        """Return the text of a traceback with secrets masked."""
        rules = self.result_rules_of(name)
        shown = mask_text(str(redact_text(rules, name, text)), rules.is_secret)
        return secrets.mask_text(shown)

    def rules_of(self, name: str) -> TaskRules:
        """Return the rules for the arguments of a task."""
        if (cached := self._rules.get(name)) is not None:
            return cached
        rules = select_rules(self.rules, name, self.parameter_names(name))
        return _cache(self._rules, name, rules)

    def result_rules_of(self, name: str) -> TaskRules:
        """Return the rules for the results of a task."""
        if (cached := self._result_rules.get(name)) is not None:
            return cached
        return _cache(self._result_rules, name, select_rules(self.result_rules, name))

    def masking(self, name: str, hidden: list[Any]) -> Masking:
        """Return what masks values by the rules for the arguments of a task.

        Args:
            hidden: List to which every masked value is added.
        """
        return Masking(
            self.rules_of(name).is_secret,
            hidden=hidden,
            mask_arguments=lambda called, args, kwargs: self._mask_arguments(
                called, args, kwargs, hidden
            ),
        )

    def _mask_arguments(
        self, name: str, args: Any, kwargs: Any, hidden: list[Any]
    ) -> tuple[list[Any], dict[Any, Any]]:
        rules = self.rules_of(name)
        args, kwargs = list(args or ()), dict(kwargs or {})
        if rules.redactors:
            before = list(leaves([args, kwargs]))
            for redactor in rules.redactors:
                args, kwargs = redact_arguments(redactor, name, args, kwargs)
            after = {repr(leaf) for leaf in leaves([args, kwargs])}
            hidden += [leaf for leaf in before if repr(leaf) not in after]
        masking = self.masking(name, hidden)
        if name in MAPPING_TASKS:
            return masking.mask_mapping_task(name, args, kwargs)
        return (
            [
                masking.hide(value)
                if rules.hides_position(position)
                else masking.mask(value)
                for position, value in enumerate(args)
            ],
            masking.mask(
                {
                    key: masking.hide(value) if rules.hides_keyword(key) else value
                    for key, value in kwargs.items()
                }
                if rules.parameters is not None
                else kwargs
            ),
        )


def _cache(cache: dict[str, TaskRules], name: str, rules: TaskRules) -> TaskRules:
    if len(cache) < MAX_CACHED_TASKS:
        cache[name] = rules
    return rules


def _mask_result(rules: TaskRules, result: Any) -> Any:
    """Mask what the rules name; other keys stay, because callers need the result."""
    if rules.is_named is None and not rules.positions:
        return result
    masking = Masking(rules.is_named or (lambda name: False))
    if not isinstance(result, list):
        return masking.mask(result)
    return [
        MASK if rules.hides_position(position) else masking.mask(item)
        for position, item in enumerate(result)
    ]


def _mask_items(rules: TaskRules, items: Sequence[Any]) -> list[Any]:
    """Mask the arguments of an exception."""
    masking = Masking(rules.is_secret)
    return [
        MASK if rules.hides_position(position) else masking.mask(item)
        for position, item in enumerate(items)
    ]


def _leaves_missing_in(text: str, arguments: Any) -> Iterator[Any]:
    """Yield the values in arguments that a text shown instead does not contain."""
    return (leaf for leaf in leaves(arguments) if str(leaf) not in text)


def _parameters(function: Callable[..., Any]) -> Iterator[str]:
    """Yield the names of a function's parameters, with stars as in its signature."""
    is_after_star = False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            is_after_star = True
            yield f"*{name}"
        elif parameter.kind is parameter.VAR_KEYWORD:
            yield f"**{name}"
        else:
            if parameter.kind is parameter.KEYWORD_ONLY and not is_after_star:
                is_after_star = True
                yield "*"
            yield name
