"""Small programs that publish, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from support.processes import IGNORED_PREFIXES, SERVICE_FOLDER

#: Prints the id of each task that it sends, and fails where routing brings more along.
PUBLISH_WITH_ROUTING_ONLY = """\
import json, sys
from celery import Celery
from cadasta.workertoolbox.routing import Routing

settings, tasks = map(json.loads, sys.argv[1:])
app = Celery("producer")
app.config_from_object(Routing(["export", "msg"], **settings))
for options in tasks:
    print(app.send_task("export.echo", ["from routing alone"], **options).id)

others = ("cadasta.workertoolbox.results", "cadasta.workertoolbox.conf")
if not app.conf.broker_url.startswith("sqla"):
    others += ("sqlalchemy", "alembic")
if not app.conf.broker_url.startswith("sqs"):
    others += ("boto3", "botocore")
found = [name for name in sys.modules if name.startswith(others)]
assert not found, found
"""

#: Prints the id of each task that four forked processes send at the same time, and of
#: one that their parent sends before and after.
PUBLISH_FROM_FORKS = """\
import os
from multiprocessing import get_context
from conformance_service import app

def publish(count):
    ids = [app.tasks["export.echo"].delay(n).id for n in range(count)]
    os.write(1, " ".join([*ids, "\\n"]).encode())  # In one piece beside the others.

publish(1)  # Its connection is in the pool that the processes inherit.
fork = get_context("fork")
processes = [fork.Process(target=publish, args=(10,)) for _ in range(4)]
for process in processes:
    process.start()
for process in processes:
    process.join()
    assert process.exitcode == 0
publish(1)
"""


def run_script(
    program: str,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
) -> list[str]:
    """Run a program, and return the words that it prints.

    Args:
        arguments: What it reads from its command line, as JSON.
        environment: Variables beside those of this process that are not in `FOREIGN`.

    Raises:
        AssertionError: It failed; shows what it printed.
    """
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(IGNORED_PREFIXES)
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *map(json.dumps, arguments)],
        cwd=SERVICE_FOLDER,
        env={**inherited, **(environment or {})},
        text=True,
        capture_output=True,
        timeout=timeout_s,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()
