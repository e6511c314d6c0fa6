"""The texts of the first files of a service."""

from __future__ import annotations

import json
from dataclasses import dataclass

from cadasta.workertoolbox.conf._starter.servers import (
    BROKERS,
    DATABASES,
    EMBEDDED,
    Server,
)

#: Settings of every configuration, as comments. Without `# ` each line is valid.
_SETTINGS = """\
        # Refuse a task such as "mail.send" if no queue is named "mail". By default it
        # goes to the queue "celery", which a worker consumes too.
        # UNKNOWN_PREFIX="refuse",
        # Acknowledge a task after it has run: if its worker is killed, it runs again.
        # task_acks_late=True,
        # End a task that takes longer than this, in seconds.
        # task_time_limit=900,
        # Raise an error at the caller if a task was sent but its copy for the monitor
        # cannot be. By default the error is logged.
        # COPY_FAILURE="raise",
        # How long the history keeps tasks; by default it keeps all of them.
        # RETENTION={"default": "90d", "FAILURE": "365d"},
        # Hide more arguments of tasks than passwords and the like.
        # REDACT={"mail.send": ["address"]},
        # Write the ids of the task on each line of the log.
        # LOG_FORMAT="json",
"""

_MODULE = '''\
"""The Celery app of {project}.

Broker and database come from the environment: see `.env.example`. Every keyword of
`Config` can come from there too, and every setting of Celery's is a keyword.
"""

from celery import Celery

from cadasta.workertoolbox.conf import Config

app = Celery("{project}", include=["{project}.tasks"])
app.config_from_object(
    {factory}(
        # The work queues. The name of a task begins with that of its queue: the task
        # "{queue}.hello" goes to the queue "{queue}".
        queues={queues},
{settings}    )
)
'''

_TASKS = '''\
"""The tasks of {project}."""

from {project}.celery import app


@app.task(name="{queue}.hello")
def hello(name: str) -> str:
    """Return a greeting."""
    return f"Hello, {{name}}!"
'''

_ENVIRONMENT = """\
# Settings of {project} for development. Copy this file to .env, which stays out of the
# repository, and load it into the shell:
#     cp .env.example .env && set -a && . ./.env && set +a
# Any value can come from a file instead, as containers mount secrets: write its path
# in a variable with _FILE after the name.

"""

_COMPOSE = """\
# The servers of {project} for development. The variables in .env.example connect to
# them. To stop them and delete their data: docker compose down --volumes
services:
"""


@dataclass(frozen=True)
class Plan:
    """What a service starts with.

    Attributes:
        project: The name of its package.
        queues: Its work queues.
        broker: A key of `BROKERS`.
        database: A key of `DATABASES`; without a meaning for the embedded broker.
    """

    project: str
    queues: tuple[str, ...]
    broker: str
    database: str

    @property
    def servers(self) -> tuple[Server, ...]:
        """The broker, and the database if it is not in the folder of the broker."""
        broker = BROKERS[self.broker]
        return (
            (broker,) if self.broker == EMBEDDED else (broker, DATABASES[self.database])
        )

    @property
    def needs_containers(self) -> bool:
        """Whether a server has to run."""
        return any(server.container for server in self.servers)


def render_files(plan: Plan) -> dict[str, str]:
    """Return the text of each file by its path."""
    words = {
        "project": plan.project,
        "queue": plan.queues[0],
        "queues": json.dumps(list(plan.queues)),
        "factory": "Config.embedded" if plan.broker == EMBEDDED else "Config",
        "settings": _SETTINGS + BROKERS[plan.broker].settings,
    }
    files = {
        f"{plan.project}/celery.py": _MODULE.format(**words),
        f"{plan.project}/tasks.py": _TASKS.format(**words),
        ".env.example": _ENVIRONMENT.format(**words)
        + "\n".join(server.environment for server in plan.servers),
    }
    if plan.needs_containers:
        files["compose.yaml"] = _COMPOSE.format(**words) + "\n".join(
            server.container for server in plan.servers if server.container
        )
    return files
