"""The app of a command."""

from __future__ import annotations

import click
from celery import Celery


def current_app(ctx: click.Context) -> Celery:
    """Return the app that `-A` names."""
    app: Celery = ctx.obj.app
    return app
