"""Check that the routes of the settings name declared queues."""

from __future__ import annotations

from collections.abc import Iterator

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok
from cadasta.workertoolbox.routing import RoutingError, find_router


def routes(context: CheckContext) -> Iterator[Finding]:
    """Check the routes as they are now: the app may have replaced `task_routes`."""
    router = find_router(context.app.conf)
    if router is None or not router.routes:
        return
    try:
        router.check_routes()
    except RoutingError as error:
        detail, _, advice = str(error).rpartition("; ")
        yield failed("routes", detail, advice)
    else:
        yield ok("routes", "they name declared queues")
