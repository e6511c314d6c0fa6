"""What `docs/how-to/from-django-celery-results.md` says, done on Redis."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from cadasta.workertoolbox.results import Task, TaskStore
from servers.redis import Redis
from support.polling import wait_until
from support.processes import Process, running

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "from-django-celery-results.md"

#: The Python blocks of the page: two changed lines, and two ways to read old results.
ADDED, CONFIGURED, BY_MODEL, BY_RESULT = re.findall(
    "```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
)

#: The commands of the table, in their order.
UPGRADE, CHECK, MONITOR, WORKER = re.findall(
    r"^\| \d.*?\| `celery -A proj (.*?)`", PAGE.read_text("utf-8"), re.MULTILINE
)

SETTINGS = """
from pathlib import Path
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_results"]
SECRET_KEY = "-"
USE_TZ = True
DATABASES = {{
    "default": {{
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).with_name("project.sqlite3"),
    }}
}}
CELERY_BROKER_URL = {url!r}
CELERY_BROKER_TRANSPORT_OPTIONS = {options!r}
CELERY_TASK_ALWAYS_EAGER = False
CELERY_RESULT_BACKEND = "django-db"
"""

CELERY = """
import os
from pathlib import Path
from celery import Celery
os.environ["DJANGO_SETTINGS_MODULE"] = "proj.settings"
app = Celery("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")

@app.task(name="orders.confirm")
def confirm(number):
    with Path(__file__).with_name("runs").open("a") as runs:
        runs.write(f"{number}\\n")
    return f"order {number}"
"""

MIGRATE = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""

SEND = """
from proj.celery import confirm
print(*[confirm.delay(number).id for number in range({})])
"""

#: The block of another page with Celery's own line for Django and one line more.
[KEPT] = re.findall(
    "```python\n([^`]*?from_app.*?)```",
    PAGE.with_name("django.md").read_text("utf-8"),
    re.DOTALL,
)

#: Runs a task with a worker and a monitor in this process.
RUN = """
from cadasta.workertoolbox.conf.testing import running_monitor, running_worker
from cadasta.workertoolbox.conf.testing import assert_tracked
from cadasta.workertoolbox.results import upgrade
from proj.celery import app, confirm
upgrade(app.conf.result_backend)
with running_worker(app), running_monitor(app):
    result = confirm.delay(7)
    [task] = assert_tracked(app, result)
print(task.queue, task.status, *app.amqp.queues, app.conf.result_backend)
"""

#: Follows Celery's own line for Django: results stay where they are.
TRACKED = """
from cadasta.workertoolbox.routing import track
track(app)
"""

#: Creates the tables of a tracked app.
CREATE = """
from cadasta.workertoolbox.results import tasks_database, upgrade
from proj.celery import app
upgrade(tasks_database(app.conf))
"""

#: An old service and one with `track` store a result each, and read that of the other.
SHARE_RESULTS = """
from celery import Celery
from cadasta.workertoolbox.routing import track
from proj.celery import app as old
new = Celery("new", set_as_current=False)
new.config_from_object("django.conf:settings", namespace="CELERY")
track(new)
old.backend.store_result("before", {"rows": 3}, "SUCCESS")
new.backend.store_result("after", [1], "SUCCESS")
print(new.AsyncResult("before").get(timeout=9), old.AsyncResult("after").get(timeout=9))
"""


class Project(NamedTuple):
    """A Django project in a folder, and variables of its processes."""

    folder: Path
    environment: Mapping[str, str] = {}

    def start(self, *words: str) -> AbstractContextManager[Process]:
        command = [sys.executable, "-m", *words]
        return running(command, folder=self.folder, environment=self.environment)

    def celery(self, command: str) -> AbstractContextManager[Process]:
        words = command.split()
        if words[0] == "worker":
            words += ["--pool", "solo", "--without-mingle", "--loglevel", "INFO"]
        return self.start("celery", "-A", "proj", *words)

    def run(self, process: AbstractContextManager[Process]) -> str:
        """Wait for the end of a process, and return the last line of its output."""
        with process as done:
            assert done.wait() == 0, done.tail
            return done.text.splitlines()[-1] if done.text else ""

    def python(self, *lines: str) -> str:
        script = "import django; django.setup()\n" + "\n".join(lines)
        command = [sys.executable, "-c", script]
        settings = {"DJANGO_SETTINGS_MODULE": "proj.settings", **self.environment}
        return self.run(running(command, folder=self.folder, environment=settings))

    def runs(self) -> Counter[str]:
        """Return how often each number was run."""
        path = self.folder / "proj" / "runs"
        return Counter(path.read_text().split() if path.exists() else ())

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.folder / "proj" / file
        text = path.read_text("utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def project(redis: Redis, tmp_path: Path) -> Iterator[Project]:
    """A project that stores results by django-celery-results."""
    pytest.importorskip("django_celery_results")
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj" / "__init__.py").touch()
    (tmp_path / "proj" / "celery.py").write_text(CELERY, "utf-8")
    with redis.access() as access:
        settings = SETTINGS.format(url=access.url, options=access.transport_options)
        (tmp_path / "proj" / "settings.py").write_text(settings, "utf-8")
        yield Project(tmp_path)


def test_a_project_moves_on_without_losing_a_task(project: Project) -> None:
    old = project.python(MIGRATE, SEND.format(1))
    with project.celery(WORKER) as worker:
        worker.wait_for("succeeded")
    waiting = project.python(SEND.format(4)).split()

    project.replace("settings.py", 'CELERY_RESULT_BACKEND = "django-db"\n', ADDED)
    line = 'app.config_from_object("django.conf:settings", namespace="CELERY")\n'
    project.replace("celery.py", line, CONFIGURED)
    project.run(project.celery(UPGRADE))
    project.run(project.celery(CHECK))
    with project.celery(MONITOR), project.celery(WORKER):
        new = project.python(SEND.format(2)).split()
        with TaskStore(f"sqlite:///{project.folder}/proj/project.sqlite3") as store:
            tasks = wait_until(lambda: ended(store, count=6))

    assert project.runs() == Counter({"0": 3, "1": 2, "2": 1, "3": 1})
    assert {id for id, task in tasks.items() if task.tracked} == {*new}
    assert tasks.keys() == {*new, *waiting}
    shown = project.python(
        "import proj.celery",
        f"task_id = {old!r}",
        printed(BY_MODEL),
        BY_RESULT,
        f"print(*[find_result(id).get(timeout=9) for id in [{old!r}, {new[1]!r}]])",
    )
    assert shown == '"order 0" order 0 order 1'


def test_a_tracked_project_shares_its_results_with_old_services(
    project: Project,
) -> None:
    assert project.python(MIGRATE, SHARE_RESULTS) == "{'rows': 3} [1]"


def test_a_monitor_of_a_tracked_project_has_a_database_of_its_own(
    project: Project,
) -> None:
    url = f"workertoolbox+sqlite:///{project.folder}/tasks.sqlite3"
    project = project._replace(environment={"WORKERTOOLBOX_RESULT_BACKEND": url})
    line = 'app.config_from_object("django.conf:settings", namespace="CELERY")\n'
    project.replace("celery.py", line, line + TRACKED)
    id = project.python(CREATE, SEND.format(1))
    with project.celery(MONITOR), TaskStore(url) as store:
        seen = wait_until(lambda: [task.id for task in store.list()] or None)

    assert seen == [id]


def test_a_project_may_keep_celerys_own_line(project: Project) -> None:
    (project.folder / "proj" / "__init__.py").write_text("from .celery import app\n")
    queues = 'WORKERTOOLBOX_QUEUES = ["orders"]\n'
    project.replace("settings.py", 'CELERY_RESULT_BACKEND = "django-db"\n', queues)
    line = 'app.config_from_object("django.conf:settings", namespace="CELERY")\n'
    project.replace("celery.py", line, KEPT)

    assert project.python(RUN).split() == [
        *("orders", "SUCCESS", "celery", "orders", "platform.fifo"),
        f"workertoolbox+sqlite:///{project.folder}/proj/project.sqlite3",
    ]


def printed(block: str) -> str:
    """Return a block of code that also prints the value of its last line."""
    head, _, last = block.strip().rpartition("\n")
    return f"{head}\nprint({last}, end=' ')"


def ended(store: TaskStore, *, count: int) -> dict[str, Task]:
    """Return the tasks that have succeeded, by id, once a monitor has seen enough."""
    tasks = {task.id: task for task in store.list(status="SUCCESS")}
    assert len(tasks) == count
    assert sum(task.tracked for task in tasks.values()) == 2
    return tasks
