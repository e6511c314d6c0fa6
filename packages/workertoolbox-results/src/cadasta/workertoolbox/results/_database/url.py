"""The result-backend URL, rendered from variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from urllib.parse import quote

from cadasta.workertoolbox.results._errors import InvalidTemplate

#: The `result_backend` of a fleet, unless a service sets its own.
RESULT_BACKEND = (
    "workertoolbox+postgresql+psycopg2://{0.RESULT_DB_USER}:{0.RESULT_DB_PASS}"
    "@{0.RESULT_DB_HOST}:{0.RESULT_DB_PORT}/{0.RESULT_DB_NAME}"
)


#: A password in a template: what stands between `://user:` and the last `@`.
_PASSWORD = re.compile(r"(?<=://)((?:\{[^{}]*\}|[^:/@{}])*):(\S*)(?=@)")


def render_url(
    template: str, variables: Mapping[str, object], *, setting: str = "result_backend"
) -> str:
    """Return a URL with each `{0.NAME}`, or `{NAME}`, replaced by its variable.

    Values are escaped for a URL, so that a password may hold any character. Braces
    that are meant as such are doubled, as in `str.format`.

    Args:
        setting: What an error calls the template.

    Raises:
        InvalidTemplate: A variable that does not exist, a stray brace, or a format
            that is more than a name.
    """
    escaped = {name: _escaped(name, value) for name, value in variables.items()}
    return render_text(template, escaped, setting=setting)


def render_text(template: str, variables: Mapping[str, object], *, setting: str) -> str:
    """Return a text that is no URL with its variables replaced by their values.

    Args:
        setting: What an error calls the template.

    Raises:
        InvalidTemplate: As for `render_url`.
    """
    shown = f"{setting} template {_shown(template)!r}"
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InvalidTemplate(
            f"{shown} has a stray brace ({error}); double the braces that are not "
            "around a variable"
        ) from error
    rendered = []
    for text, field, *rest in parts:
        rendered.append(text)
        if field is None:
            continue
        name = field.removeprefix("0.")
        if name not in variables or any(rest):
            known = ", ".join(f"{{0.{name}}}" for name in variables)
            raise InvalidTemplate(
                f"{shown}: {{{field}}} is no variable; use one of {known}"
            )
        rendered.append(str(variables[name]))
    return "".join(rendered)


def _escaped(name: str, value: object) -> str:
    # An IPv6 address stands in a URL as it is.
    return quote(str(value), safe="[]:" if name.endswith("HOST") else "")


def _shown(template: str) -> str:
    """Return a template for an error: a password that is no variable is masked."""

    def masked(match: re.Match[str]) -> str:
        user, password = match.groups()
        is_variable = re.fullmatch(r"\{[^{}]*\}", password)
        return f"{user}:{password if is_variable else '********'}"

    return _PASSWORD.sub(masked, template)
