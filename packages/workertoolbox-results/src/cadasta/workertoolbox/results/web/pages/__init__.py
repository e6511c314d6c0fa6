"""The pages: one module for each, with its routes."""

from starlette.routing import BaseRoute

from cadasta.workertoolbox.results.web.pages import (
    errors,
    health,
    overview,
    quarantine,
    queues,
    schedules,
    services,
    task,
    tasks,
    workers,
    workflow,
)

ROUTES: list[BaseRoute] = [
    *overview.ROUTES,
    *tasks.ROUTES,
    *task.ROUTES,
    *workflow.ROUTES,
    *errors.ROUTES,
    *queues.ROUTES,
    *workers.ROUTES,
    *schedules.ROUTES,
    *services.ROUTES,
    *quarantine.ROUTES,
    *health.ROUTES,
]
