"""Publishing of chords."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery import Celery, Signature, chord
from celery.signals import before_task_publish

from cadasta.workertoolbox.results.backend import Backend


def test_a_header_from_a_generator_is_published_while_it_is_generated(
    app: Celery, backend: Backend
) -> None:
    published: list[str] = []
    published_before: list[int] = []

    def add_name(sender: str, **_: Any) -> None:
        published.append(sender)

    def header() -> Iterator[Signature[Any]]:
        for number in range(5):
            published_before.append(len(published))
            yield app.signature("export.project", (number,))

    before_task_publish.connect(add_name)
    chord(header(), app.signature("export.collect"), app=app)()
    before_task_publish.disconnect(add_name)

    assert len(published) == 5
    assert published_before[-1] > 0
