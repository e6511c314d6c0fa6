"""Masking of the secret parts of a task's arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kombu.utils.json import dumps

from cadasta.workertoolbox.results._arguments.secret_texts import MASK, mask_text

#: Celery's own tasks that call another task for each item of `it`.
MAPPING_TASKS = ("celery.map", "celery.starmap", "celery.chunks")

#: Parameters of these tasks.
_MAPPING_PARAMETERS = ("task", "it", "n")

_LISTS = (list, tuple)

#: Types of JSON values that hold no secret by themselves.
_PLAIN = frozenset((type(None), bool, int, float))

SecretTest = Callable[[str], object]

#: Masks the arguments of the task of a name, and returns both.
ArgumentsMasker = Callable[[str, Any, Any], tuple[Any, Any]]


class Masking:
    """One pass over the arguments of a task that masks what is secret.

    Args:
        is_secret: Returns whether a name is secret.
        hidden: List to which every masked value is added.
        mask_arguments: Masks the arguments of another task, whose signature is among
            the arguments of this one. By default they are masked as any value.
    """

    def __init__(
        self,
        is_secret: SecretTest,
        *,
        hidden: list[Any] | None = None,
        mask_arguments: ArgumentsMasker | None = None,
    ) -> None:
        self._is_secret = is_secret
        self._hidden = [] if hidden is None else hidden
        self._mask_arguments = mask_arguments or self._mask_both

    def hide(self, value: Any) -> str:
        """Return the mask for a secret value, and remember the value."""
        if value is not None and value != MASK:
            self._hidden.append(value)
        return MASK

    def mask(self, value: Any) -> Any:
        """Return a value with its secret parts masked, at any depth.

        Secret are the items of secret keys, the arguments of signatures as the rules of
        their tasks say or as they say themselves (`argsrepr`), and passwords in texts.
        """
        # By type and not by `isinstance`, which takes several times as long.
        kind = type(value)
        if kind is str:
            return self._mask_string(value) if ":" in value or "=" in value else value
        if kind in _PLAIN:
            return value
        if kind is dict or isinstance(value, dict):
            return self._mask_dict(value)
        if kind is list or isinstance(value, _LISTS):
            return self._mask_list(value)
        return self._mask_object(value)

    def mask_mapping_task(self, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Mask the arguments of one of `MAPPING_TASKS`, by the rules of its task."""
        given = dict(zip(_MAPPING_PARAMETERS, args, strict=False)) | kwargs
        match given:
            case {"task": {"task": str(called)}, "it": [*items]}:
                is_single = name == "celery.map"
                masked = [
                    self._mask_item(called, item, is_single=is_single) for item in items
                ]
            case _:
                masked = self.mask(given.get("it"))
        others = {key: self.mask(item) for key, item in given.items() if key != "it"}
        shown = {**others, "it": masked}
        positional = [shown[key] for key in _MAPPING_PARAMETERS[: len(args)]]
        rest = self.mask(list(args)[len(positional) :])
        return [*positional, *rest], {key: shown[key] for key in kwargs}

    def _mask_item(self, name: str, item: Any, *, is_single: bool) -> Any:
        """Mask the arguments of one call: a list of them, or a single one."""
        if isinstance(item, _LISTS) and not is_single:
            return self._mask_arguments(name, item, {})[0]
        masked, _ = self._mask_arguments(name, [item], {})
        return masked[0] if masked else self.hide(item)

    def _mask_list(self, items: Sequence[Any]) -> list[Any]:
        """Mask the items of a list, which may be pairs of a name and a value."""
        if items and isinstance(items[0], _LISTS) and all(map(_is_pair, items)):
            return [
                [name, self.hide(item) if self._is_secret(name) else self.mask(item)]
                for name, item in items
            ]
        return [self.mask(item) for item in items]

    def _mask_dict(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        shown: dict[Any, Any] = {}
        if "task" in value and _is_signature(value):
            args, kwargs = value.get("args"), value.get("kwargs")
            masked = self._mask_arguments(value["task"], args, kwargs)
            shown = dict(zip(("args", "kwargs"), masked, strict=True))
            shown |= _given_texts(value)
        if "value" in value:
            named = value.get("name", value.get("key"))
            if isinstance(named, str) and self._is_secret(named):
                shown["value"] = self.hide(value["value"])
        return {
            key: shown[key]
            if key in shown
            else self.hide(item)
            if isinstance(key, str) and self._is_secret(key)
            else self.mask(item)
            for key, item in value.items()
        }

    def _mask_string(self, text: str) -> str:
        if text.lstrip()[:1] in ("{", "[", '"'):
            try:
                decoded = json.loads(text)
                masked = self.mask(decoded)
            except (ValueError, RecursionError):
                pass  # It only looks like JSON.
            else:
                return text if masked == decoded else json.dumps(masked)
        return mask_text(text, self._is_secret, hidden=self._hidden)

    def _mask_both(self, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return self.mask(args), self.mask(kwargs)

    def _mask_object(self, value: Any) -> Any:
        """Mask an object that Celery decoded, in the form in which it was encoded."""
        try:
            encoded = json.loads(dumps(value))
        except (TypeError, ValueError, RecursionError):
            return value
        masked = self.mask(encoded)
        return value if masked == encoded else masked


def _is_signature(value: Mapping[Any, Any]) -> bool:
    """Return whether an object is a signature, or a message of task protocol 1."""
    return isinstance(value.get("task"), str) and (
        isinstance(value.get("args"), list | tuple)
        or isinstance(value.get("kwargs"), dict)
    )


def _given_texts(signature: Mapping[Any, Any]) -> dict[str, str]:
    """Return the texts that a signature gives in place of its arguments."""
    options = signature.get("options")
    if not isinstance(options, dict):
        return {}
    texts = {key: options.get(f"{key}repr") for key in ("args", "kwargs")}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _is_pair(value: Any) -> bool:
    return isinstance(value, _LISTS) and len(value) == 2 and isinstance(value[0], str)
