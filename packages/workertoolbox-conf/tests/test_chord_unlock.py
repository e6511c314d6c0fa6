from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import Celery

from cadasta.workertoolbox.conf import (
    Config,
    setup_app,
)
from cadasta.workertoolbox.results import upgrade


def embedded_app(folder: Path, **settings: Any) -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config.embedded(["export"], folder, **settings))
    upgrade(app.conf.result_backend)
    return app


def test_a_given_limit_is_added_to_annotations_of_ones_own() -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(
        Config(
            ["export"],
            CHORD_UNLOCK_MAX_RETRIES=0,
            task_annotations={"celery.chain": {"rate_limit": "1/s"}},
        )
    )

    assert app.tasks["celery.chord_unlock"].max_retries == 0
    assert app.tasks["celery.chain"].rate_limit == "1/s"


def test_there_is_no_limit_by_default() -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"]))

    assert app.tasks["celery.chord_unlock"].max_retries is None


def test_setup_app_sets_a_limit(tmp_path: Path) -> None:
    app = embedded_app(tmp_path)
    setup_app(app)

    assert app.tasks["celery.chord_unlock"].max_retries == 21_600


def test_setup_app_keeps_a_given_limit(tmp_path: Path) -> None:
    app = embedded_app(tmp_path, CHORD_UNLOCK_MAX_RETRIES=7)
    setup_app(app)

    assert app.tasks["celery.chord_unlock"].max_retries == 7
