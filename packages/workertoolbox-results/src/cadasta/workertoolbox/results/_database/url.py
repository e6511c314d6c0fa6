"""Templates of URLs, with variables for user, password, host and so on.

Producers render such templates too, so this module does not import SQLAlchemy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any
from urllib.parse import quote

from cadasta.workertoolbox.results._errors import InvalidTemplate, InvalidURL

#: The default template of `result_backend`.
RESULT_BACKEND = (
    "workertoolbox+postgresql+psycopg2://{0.RESULT_DB_USER}:{0.RESULT_DB_PASS}"
    "@{0.RESULT_DB_HOST}:{0.RESULT_DB_PORT}/{0.RESULT_DB_NAME}"
)

#: The environment variable with the database of an app whose results stay elsewhere.
#: `Config` reads it too. A file is named with `_FILE` after it.
VARIABLE = "WORKERTOOLBOX_RESULT_BACKEND"

#: User and password in a template: the text between `://` and the last `@`.
_CREDENTIALS = re.compile(r"(?<=://)((?:\{[^{}]*\}|[^:/@{}])*):(\S*)(?=@)")

#: What SQLAlchemy takes for user and password, with the `@` after them.
_LOGIN = re.compile(r"[^:/@]*(:[^@]*)?@")


def tasks_database(conf: Any) -> str:
    """Return the database with the tasks of an app, as a `result_backend`.

    It is that of the toolbox's result backend. An app that is tracked without it, as by
    `track`, has another one: then the environment names the database.

    Args:
        conf: The settings of the app.

    Raises:
        InvalidURL: The file with the URL cannot be read.
    """
    own = str(conf.result_backend or "")
    if own.startswith("workertoolbox+"):
        return own
    if file := os.environ.get(f"{VARIABLE}_FILE"):
        try:
            return Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise InvalidURL(
                f"{VARIABLE}_FILE={file!r} cannot be read: {type(error).__name__}"
            ) from error
    return os.environ.get(VARIABLE) or own


def are_results_separate(conf: Any) -> bool:
    """Return whether an app stores its results outside the database with its tasks.

    Args:
        conf: The settings of the app.

    Raises:
        InvalidURL: As for `tasks_database`.
    """
    own, tasks = str(conf.result_backend or ""), tasks_database(conf)
    return own not in (tasks, f"db+{tasks.removeprefix('workertoolbox+')}")


def check_login(url: str) -> None:
    """Refuse a URL of a database whose user or password SQLAlchemy would misread.

    It ends the password at the first `@`, and shows what follows as the host.

    Args:
        url: A `result_backend` setting, or a URL for SQLAlchemy.

    Raises:
        InvalidURL: An `@` has to be percent-encoded. The message does not show the URL,
            because it is not known which part of it is secret.
    """
    scheme, _, rest = url.partition("://")
    address = _LOGIN.sub("", rest.partition("?")[0], count=1)
    if "@" in address and "sqlite" not in scheme:
        raise InvalidURL(
            f"result_backend '{scheme}://********' has more than one '@'; percent-"
            "encode user and password, as in urllib.parse.quote('p@ss', safe=''), "
            "which is 'p%40ss'"
        )


def render_url(
    template: str, variables: Mapping[str, object], *, setting: str = "result_backend"
) -> str:
    """Return a URL template with each `{0.NAME}` or `{NAME}` replaced by its variable.

    Values are percent-encoded, so that a password may contain any character. Literal
    braces are doubled, as in `str.format`.

    Args:
        setting: The name of the setting, for error messages.

    Raises:
        InvalidTemplate: A variable is unknown, a brace is unmatched, or a replacement
            field is more than a name.
        InvalidURL: An `@` in the URL of a database has to be percent-encoded.
    """
    quoted = {name: _quote(name, value) for name, value in variables.items()}
    url = render_text(template, quoted, setting=setting)
    if url.startswith(("workertoolbox+", "db+")):
        check_login(url)
    return url


def render_text(template: str, variables: Mapping[str, object], *, setting: str) -> str:
    """Return a template with its variables replaced by their values, unencoded.

    Args:
        setting: The name of the setting, for error messages.

    Raises:
        InvalidTemplate: As for `render_url`.
    """
    shown = f"{setting} template {_mask_password(template)!r}"
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InvalidTemplate(
            f"{shown} has an unmatched brace ({error}); double the braces that are not "
            "around a variable"
        ) from error
    rendered = []
    for text, field, *options in parts:
        rendered.append(text)
        if field is None:
            continue
        name = field.removeprefix("0.")
        if name not in variables or any(options):
            known = ", ".join(f"{{0.{name}}}" for name in variables)
            raise InvalidTemplate(
                f"{shown}: {{{field}}} is not a variable; use one of {known}"
            )
        rendered.append(str(variables[name]))
    return "".join(rendered)


def _quote(name: str, value: object) -> str:
    # The brackets and colons of an IPv6 address must not be encoded.
    return quote(str(value), safe="[]:" if name.endswith("HOST") else "")


def _mask_password(template: str) -> str:
    """Return a template with its password masked, unless it is a variable."""

    def masked(match: re.Match[str]) -> str:
        user, password = match.groups()
        is_variable = re.fullmatch(r"\{[^{}]*\}", password)
        return f"{user}:{password if is_variable else '********'}"

    return _CREDENTIALS.sub(masked, template)
