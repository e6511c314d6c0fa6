"""Web pages about the tasks in a results database.

A page for a Starlette, FastAPI or Django application, under a path of its own::

    from cadasta.workertoolbox.results import TaskStore
    from cadasta.workertoolbox.results.web import create_app

    app.mount("/tasks", create_app(TaskStore("postgresql+psycopg2://reader@db/workers")))

`celery -A proj tasks web` and `python -m cadasta.workertoolbox.results.web URL` serve
the same pages. They need `pip install "workertoolbox-results[web]"`.
"""

from cadasta.workertoolbox.results.web.app import create_app

__all__ = ["create_app"]
