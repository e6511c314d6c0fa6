"""Forms that pages send, and the checks that they come from a page of the app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cadasta.workertoolbox.results.web.access.rights import require
from cadasta.workertoolbox.results.web.access.viewer import viewer_of

#: Maximum number of bytes of a form: more than 500 ids of 255 characters.
MAX_BYTES = 256 * 1024

#: The field with the token.
TOKEN = "form_token"

Form = Mapping[str, str]
Handler = Callable[[Request, Form], Response]

_FOREIGN = HTTPException(
    HTTPStatus.FORBIDDEN,
    "the form was not sent by a page of this server; if a proxy is in front of it, "
    "let it pass on the header Host",
)
_STALE = HTTPException(
    HTTPStatus.FORBIDDEN,
    "the form belongs to an earlier session; go back, load the page again and repeat",
)


def form_handler(
    handle: Handler, *, right: str | None = None
) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint for a form; its checks come before the handler is called.

    Args:
        handle: Called in a thread, with the fields of the form.
        right: The right that the user needs.
    """

    async def endpoint(request: Request) -> Response:
        check_origin(request)
        if right is not None:
            require(request, right)
        form = await read_form(request)
        check_token(request, form)
        return await run_in_threadpool(handle, request, form)

    return endpoint


def check_origin(request: Request) -> None:
    """Refuse a form that a page of another server has sent.

    Raises:
        HTTPException: Its origin is another one, or is not known.
    """
    host = request.headers.get("host", "").lower()
    origin = request.headers.get("origin")
    if origin is None:
        is_own = request.headers.get("sec-fetch-site") == "same-origin"
    else:
        # Without the scheme: behind a proxy that ends TLS it may be another one.
        _, _, name = origin.lower().partition("://")
        is_own = bool(host) and name == host
    if not is_own:
        raise _FOREIGN


def check_token(request: Request, form: Form) -> None:
    """Refuse a form without a token of the user's session.

    Raises:
        HTTPException: The token is missing, or of another session.
    """
    viewer = viewer_of(request)
    if viewer.session is None or viewer.sessions is None:
        raise _STALE
    if not viewer.sessions.is_form_token(viewer.session, form.get(TOKEN, "")):
        raise _STALE


async def read_form(request: Request) -> Form:
    """Return the fields of a form; of several with one name, the last.

    Raises:
        HTTPException: It is too large, or not a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send a form")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the form has more than {MAX_BYTES} bytes",
            )
    try:
        return dict(
            parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=50)
        )
    except ValueError:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the form is malformed") from None


def own_path(text: str | None) -> str:
    """Return a path of the app, with its query; `/` if the text is something else.

    Browsers take `//host`, `/\\host` and paths with tabs for addresses of other hosts.
    """
    path = text or ""
    is_path = path.isascii() and path.isprintable() and " " not in path
    if not is_path or not path.startswith("/") or path[1:2] in ("/", "\\"):
        return "/"
    return path.replace("\\", "%5C")
