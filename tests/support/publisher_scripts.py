"""Scripts that publish tasks, each run in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from support.processes import IGNORED_PREFIXES, SERVICE_FOLDER

#: Publishes with routing alone and prints the ids of the tasks. Fails if routing has
#: imported the other packages or their dependencies.
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

#: Publishes with routing alone, configured by the environment, and prints the id.
PUBLISH_WITH_ENVIRONMENT_ONLY = """\
from celery import Celery
from cadasta.workertoolbox.routing import Routing

app = Celery("producer")
app.config_from_object(Routing())
print(app.send_task("export.echo", ["from the environment"]).id)
"""

#: Publishes from four forked processes at once, and from their parent before and after.
#: Prints the ids of the tasks.
PUBLISH_FROM_FORKS = """\
import os
from multiprocessing import get_context
from conformance_service import app

def publish(count):
    ids = [app.tasks["export.echo"].delay(n).id for n in range(count)]
    os.write(1, " ".join([*ids, "\\n"]).encode())  # One write: lines do not mix.

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
    script: str,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Run a script, and return the words that it prints.

    The arguments are those of `script_output`.
    """
    return script_output(script, *arguments, environment=environment).split()


def script_output(
    script: str,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
) -> str:
    """Run a script, and return what it prints.

    Args:
        script: Python code.
        arguments: Arguments for its command line, each encoded as JSON.
        environment: Variables to add to the inherited ones. Those with a prefix in
            `IGNORED_PREFIXES` are not inherited.
        timeout_s: Seconds until the script is killed.

    Raises:
        AssertionError: The script failed. The message shows its output.
    """
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(IGNORED_PREFIXES)
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *map(json.dumps, arguments)],
        cwd=SERVICE_FOLDER,
        env={**inherited, **(environment or {})},
        text=True,
        capture_output=True,
        timeout=timeout_s,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
