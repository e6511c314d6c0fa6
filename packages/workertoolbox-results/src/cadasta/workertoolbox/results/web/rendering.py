"""How templates become pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment
from jinja2.runtime import Context

#: The name of the list of the contexts of a page, among the values of its template.
_CONTEXTS = "contexts"


class PageContext(Context):
    """The values of a template, or of one that it imports."""

    def __init__(
        self, environment: Environment, parent: dict[str, Any], *args: Any, **more: Any
    ) -> None:
        super().__init__(environment, parent, *args, **more)
        parent.get(_CONTEXTS, []).append(self)


def render(environment: Environment, template: str, values: Mapping[str, Any]) -> str:
    """Return a template as text, and let go of its values.

    The macros of a template refer to its context, which refers to them. Without this,
    the thousands of tasks of a workflow stay in memory until Python looks for garbage,
    which it does while another page is made.

    Args:
        environment: One whose contexts are `PageContext`s.
    """
    contexts: list[PageContext] = []
    try:
        named = {**values, _CONTEXTS: contexts}
        return environment.get_template(template).render(named)
    finally:
        for each in contexts:
            each.parent.clear()
            each.vars.clear()
