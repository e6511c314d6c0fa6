"""The routes `/errors/KEY/resolve`, `ignore` and `reopen`, for operators."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from cadasta.workertoolbox.results._safe_text import log_text
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.access.rights import explained_refusal
from cadasta.workertoolbox.results.web.access.viewer import viewer_of
from cadasta.workertoolbox.results.web.operating.forms import (
    Form,
    Handler,
    form_handler,
    own_path,
)
from cadasta.workertoolbox.results.web.site import site_of

logger = logging.getLogger(__name__)

_CHANGES: dict[str, Callable[[TaskStore, str], None]] = {
    "resolve": TaskStore.resolve_error_group,
    "ignore": TaskStore.ignore_error_group,
    "reopen": TaskStore.reopen_error_group,
}


def _handler(verb: str) -> Handler:
    def handle(request: Request, form: Form) -> Response:
        id = request.path_params["id"]
        with explained_refusal("a purger"):
            _CHANGES[verb](site_of(request).store, id)
        signature = log_text(viewer_of(request).signature)
        logger.info("error group %s: %s, by %s", log_text(id), verb, signature)
        target = f"{request.state.root}{own_path(form.get('next'))}"
        return RedirectResponse(target, HTTPStatus.SEE_OTHER)

    return handle


ROUTES: list[BaseRoute] = [
    Route(
        f"/errors/{{id}}/{verb}",
        form_handler(_handler(verb), right="errors"),
        methods=["POST"],
        name=f"{verb}_error_group",
    )
    for verb in _CHANGES
]
