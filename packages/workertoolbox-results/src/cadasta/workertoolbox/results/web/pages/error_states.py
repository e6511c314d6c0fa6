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

#: Maximum number of characters of a reason.
MAX_REASON_LENGTH = 500

_CHANGES: dict[str, Callable[..., None]] = {
    "resolve": TaskStore.resolve_error_group,
    "ignore": TaskStore.ignore_error_group,
    "reopen": TaskStore.reopen_error_group,
}


def _handler(verb: str) -> Handler:
    def handle(request: Request, form: Form) -> Response:
        id = request.path_params["id"]
        signature = viewer_of(request).signature
        reason = form.get("reason", "").strip()[:MAX_REASON_LENGTH] or None
        with explained_refusal("a purger"):
            change = _CHANGES[verb]
            change(site_of(request).store, id, made_by=signature, reason=reason)
        by = log_text(signature)
        logger.info("error group %s: %s, by %s", log_text(id), verb, by)
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
