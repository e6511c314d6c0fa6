"""The pages `/login` and `/logout`."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from cadasta.workertoolbox.results.web.access.gate import Access, set_session
from cadasta.workertoolbox.results.web.access.logins import (
    MAX_NAME_LENGTH,
    PasswordLogin,
    TooManyAttempts,
)
from cadasta.workertoolbox.results.web.access.sessions import Session
from cadasta.workertoolbox.results.web.operating.forms import (
    Form,
    check_origin,
    form_handler,
    own_path,
    read_form,
)
from cadasta.workertoolbox.results.web.serving.proxies import client_of
from cadasta.workertoolbox.results.web.site import path, site_of


def login_routes(access: Access) -> list[BaseRoute]:
    """Return the routes of the login; there are none without a password."""
    if not isinstance(access.login, PasswordLogin):
        return []
    pages = _LoginPages(access, access.login)
    return [
        Route("/login", pages.show, name="login"),
        Route("/login", pages.log_in, methods=["POST"]),
    ]


def logout_routes(access: Access) -> list[BaseRoute]:
    """Return the route of the logout, for users who have logged in."""
    if not isinstance(access.login, PasswordLogin):
        return []
    log_out = form_handler(_LoginPages(access, access.login).log_out)
    return [Route("/logout", log_out, methods=["POST"], name="logout")]


class _LoginPages:
    def __init__(self, access: Access, login: PasswordLogin) -> None:
        self._access = access
        self._login = login

    def show(self, request: Request) -> Response:
        """Return the page, or the page that was asked for if the user is known."""
        next = own_path(request.query_params.get("next"))
        if self._find_session(request):
            return self._redirect(request, next)
        return self._page(request, next)

    async def log_in(self, request: Request) -> Response:
        """Begin a session, if the password is right."""
        check_origin(request)
        form = await read_form(request)
        next, name = own_path(form.get("next")), form.get("name", "").strip()
        if self._asks_name and not 0 < len(name) <= MAX_NAME_LENGTH:
            return self._page(request, next, "Write your name.", status=400)
        try:
            is_right = await self._login.check(
                form.get("password", ""), client_of(request.scope)
            )
        except TooManyAttempts as error:
            problem = f"Too many wrong passwords. Try again in {error.wait_s} seconds."
            response = self._page(request, next, problem, name=name, status=429)
            response.headers["retry-after"] = str(error.wait_s)
            return response
        if not is_right:
            problem = "This password is wrong."
            return self._page(request, next, problem, name=name, status=401)
        session = Session.begin(name if self._asks_name else "")
        response = self._redirect(request, next)
        sessions = self._access.sessions
        set_session(response, request, sessions.cookie, sessions.seal(session))
        return response

    def log_out(self, request: Request, form: Form) -> Response:
        """End the session."""
        session = self._find_session(request)
        if session is None:
            raise HTTPException(HTTPStatus.FORBIDDEN, "there is no session to end")
        self._access.sessions.end(session)
        response = RedirectResponse(path(request, "login"), HTTPStatus.SEE_OTHER)
        set_session(response, request, self._access.sessions.cookie, "")
        return response

    def _find_session(self, request: Request) -> Session | None:
        sessions = self._access.sessions
        return sessions.open(request.cookies.get(sessions.cookie))

    @property
    def _asks_name(self) -> bool:
        """Whether names are stored with what users change."""
        return bool(self._access.rights)

    def _page(
        self,
        request: Request,
        next: str,
        problem: str | None = None,
        *,
        name: str = "",
        status: int = 200,
    ) -> Response:
        return site_of(request).page(
            request,
            "login.html",
            status=status,
            next=next,
            problem=problem,
            name=name,
            asks_name=self._asks_name,
            max_name_length=MAX_NAME_LENGTH,
        )

    def _redirect(self, request: Request, next: str) -> Response:
        return RedirectResponse(f"{request.state.root}{next}", HTTPStatus.SEE_OTHER)
