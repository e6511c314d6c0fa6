"""Checks of broker URLs whose user or password kombu would misread, and then show.

kombu ends the host at the first `/`, `?` or `#`, and reads what is before it as a port.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cadasta.workertoolbox.routing._errors import InvalidSetting
from cadasta.workertoolbox.routing._masking import split_urls

#: Settings with broker URLs.
_SETTINGS = ("broker_url", "broker_read_url", "broker_write_url")

#: Schemes of URLs that kombu reads. Other transports read their URLs themselves.
_SCHEMES = {"amqp", "amqps", "pyamqp", "redis", "rediss", "rpc", "sentinel", "sqs"}

#: A host with its port, as kombu reads them.
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")

#: User and password, as SQLAlchemy reads them.
_SQL_LOGIN = re.compile(r"[^:/@]*(:[^@]*)?@")


def check_broker_urls(settings: Mapping[str, Any]) -> None:
    """Refuse broker URLs with characters that have to be percent-encoded.

    Celery's environment variables, which win over the settings, are checked too.

    Raises:
        InvalidSetting: As for `check_url`.
    """
    for name in _SETTINGS:
        check_url(name, settings.get(name) or ())
        variable = f"CELERY_{name.upper()}"
        check_url(variable, os.environ.get(variable, ""))


def may_be_sqs(settings: Mapping[str, Any]) -> bool:
    """Return whether the broker is SQS, or is not known because no setting names it."""
    named = [settings.get(name) for name in (*_SETTINGS, "broker_transport")]
    urls = [
        url
        for value in named
        if value
        for text in ([value] if isinstance(value, str) else value)
        for url in split_urls(str(text))
    ]
    return not urls or any("sqs" in url.partition("://")[0].lower() for url in urls)


def check_url(name: str, urls: str | Iterable[str]) -> None:
    """Refuse a URL, or a list of them, that kombu would misread.

    Args:
        name: The setting, for the error message.

    Raises:
        InvalidSetting: A character has to be percent-encoded. The message does not
            show the URL: which part of it is secret is not known.
    """
    for text in [urls] if isinstance(urls, str) else urls:
        for url in split_urls(str(text)):
            scheme, separator, rest = url.partition("://")
            if separator and _is_misread(scheme.lower(), rest):
                raise InvalidSetting(
                    f"{name}='{scheme}://********' has a character that a URL cannot "
                    "contain in its user, password, port or path; percent-encode each "
                    "part, as in urllib.parse.quote('p@ss/word', safe=''), which is "
                    "'p%40ss%2Fword': see docs/how-to/troubleshooting.md"
                    "#a-url-is-refused-or-the-login-fails"
                )


def _is_misread(scheme: str, rest: str) -> bool:
    """Return whether what follows `://` would be read differently than it was meant."""
    if scheme.startswith("sqla") and "sqlite" not in scheme:
        return "@" in _SQL_LOGIN.sub("", rest.partition("?")[0], count=1)
    if scheme not in _SCHEMES:
        return False
    authority, end = re.split(r"(?=[/?#])|$", rest, maxsplit=1)
    login, _, host = authority.rpartition("@")
    path, _, query = end.partition("?")
    is_in_login = authority and "@" in path + query.partition("=")[0]
    # kombu splits failover URLs at each `;`.
    return bool(
        is_in_login or re.search(r"[\[\];]", login) or not _HOST.fullmatch(host)
    )
