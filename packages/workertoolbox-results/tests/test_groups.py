"""Saving, restoring and deleting groups."""

from __future__ import annotations

from celery import Celery


def test_a_group_is_saved_and_restored(app: Celery) -> None:
    group = app.GroupResult("g", [app.AsyncResult("1"), app.AsyncResult("2")])
    group.save()
    group.save()
    restored = app.GroupResult.restore("g")

    assert restored == group
    restored.delete()
    assert app.GroupResult.restore("g") is None
