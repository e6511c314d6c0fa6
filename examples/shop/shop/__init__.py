"""A shop. Django loads its Celery app, so that `shared_task` uses it."""

from shop.celery import app as celery_app

__all__ = ["celery_app"]
