"""Endpoints: typed functions that answer requests with JSON.

The signature of the function says which parameters a request may have, and its return
type and docstring say what the answer is; see `parameters.py` and `document.py`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args, get_type_hints

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results.web.api.docstrings import entries_of
from cadasta.workertoolbox.results.web.api.parameters import (
    InvalidParameter,
    Kind,
    refuse,
)
from cadasta.workertoolbox.results.web.site import site_of

#: The methods of each endpoint.
METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Parameter:
    """A parameter of an endpoint.

    Attributes:
        default: Its value if a request does not have it.
        in_path: Whether it is a part of the path.
        text: Its description.
    """

    name: str
    kind: Kind
    default: Any
    in_path: bool
    text: str

    def read(self, text: str) -> Any:
        """Return the value in a request.

        Raises:
            InvalidParameter: The text is malformed.
        """
        try:
            return self.kind.read(text)
        except ValueError as error:
            raise refuse(self.name, text, str(error)) from None


@dataclass(frozen=True)
class Endpoint:
    """A path, and the function that answers requests for it.

    Attributes:
        path: The path under that of the API, such as `/tasks/{id}`.
        function: It takes the store, and the parameters as keywords. Of a sequence, the
            answer is an object with `items`.
    """

    path: str
    function: Callable[..., JsonRecord | Sequence[JsonRecord] | Sequence[str]]

    @property
    def name(self) -> str:
        """A name for the operation, such as `tasks_id_attempts`."""
        return re.sub(r"\W+", "_", self.path).strip("_")

    @cached_property
    def returns(self) -> Any:
        """The type that the function returns."""
        return get_type_hints(self.function)["return"]

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by their names."""
        hints = get_type_hints(self.function, include_extras=True)
        texts = entries_of(self.function, "Args")
        given = [*inspect.signature(self.function).parameters.values()][1:]
        return {
            each.name: Parameter(
                name=each.name,
                kind=get_args(hints[each.name])[1],
                default=None if each.default is each.empty else each.default,
                in_path=f"{{{each.name}}}" in self.path,
                text=texts[each.name],
            )
            for each in given
        }

    def route(self) -> Route:
        """Return the route; ids may contain slashes."""
        path = self.path.replace("}", ":path}")
        return Route(path, self.respond, methods=METHODS, name=f"api_{self.name}")

    def respond(self, request: Request) -> Response:
        """Answer a request.

        Raises:
            InvalidParameter: A parameter is unknown or malformed.
            ResultsError: Those of the function.
        """
        if request.method == "OPTIONS":
            return show_methods()
        values = self._read(request)
        found = self.function(site_of(request).store, **values)
        return JSONResponse(as_json(found))

    def _read(self, request: Request) -> dict[str, Any]:
        given = request.query_params.multi_items()
        texts = {**dict(given), **request.path_params}
        for name, _ in given:
            parameter = self.parameters.get(name)
            if parameter is None or parameter.in_path:
                raise InvalidParameter(self._unknown(name))
        if len(given) > len(request.query_params):
            names = [name for name, _ in given]
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidParameter(f"{twice} is given more than once; give one value")
        return {
            name: each.read(texts[name]) if name in texts else each.default
            for name, each in self.parameters.items()
        }

    def _unknown(self, name: str) -> str:
        shown = repr(name if len(name) <= 100 else f"{name[:100]}…")
        known = [each.name for each in self.parameters.values() if not each.in_path]
        hint = f"the parameters are {', '.join(known)}" if known else "there are none"
        return f"unknown parameter {shown}; {hint}"


def show_methods() -> Response:
    """Answer a request for the methods of an endpoint."""
    return Response(status_code=204, headers={"allow": ", ".join(METHODS)})


def as_json(found: JsonRecord | Sequence[JsonRecord] | Sequence[str]) -> dict[str, Any]:
    """Return what a function has returned as a JSON object."""
    if isinstance(found, JsonRecord):
        return found.as_json()
    return {"items": [e.as_json() if isinstance(e, JsonRecord) else e for e in found]}
