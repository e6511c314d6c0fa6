"""Texts in statements, in the form in which the database holds them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text


def escape_texts(engine: Engine) -> None:
    """Escape what no column accepts in the parameters of all statements of an engine.

    Monitors and workers store NUL and lone surrogates of names and other texts as
    backslash escapes. A query for such a text finds them then, and otherwise the driver
    would refuse it.
    """
    event.listen(engine, "before_cursor_execute", _escape, retval=True)


def _escape(
    connection: object, cursor: object, statement: str, parameters: Any, *_: object
) -> tuple[str, Any]:
    return statement, _escaped(parameters)


def _escaped(value: Any) -> Any:
    match value:
        case str():
            return jsonable_text(value)
        case dict():
            return {key: _escaped(each) for key, each in value.items()}
        case list():
            return [_escaped(each) for each in value]
        case tuple():
            return tuple(_escaped(each) for each in value)
    return value
