"""The servers that a service can start with: their variables and their containers.

The addresses and passwords are those of servers for development. `.env.example` and
`compose.yaml` both take them from here.
"""

from __future__ import annotations

from dataclasses import dataclass

EMBEDDED = "embedded"
SQLITE = "sqlite"
POSTGRESQL = "postgresql"

#: User and password of every server for development.
USER, PASSWORD = "worker", "development"


@dataclass(frozen=True)
class Server:
    """A broker or a database.

    Attributes:
        environment: Lines of `.env.example`.
        container: A service of a Compose file; empty if no server is needed.
        extra: The extra of this package with the client, if it needs one.
        client: The module that the extra installs.
        settings: Lines of the configuration that this server allows, as comments.
    """

    environment: str
    container: str = ""
    extra: str = ""
    client: str = ""
    settings: str = ""


_RABBITMQ = Server(
    environment=f"""\
# The broker. In a user or a password, percent-encode special characters: @ is %40, / is
# %2F. The name of a vhost follows the last slash; an empty name is the vhost "/".
WORKERTOOLBOX_BROKER_URL=amqp://{USER}:{PASSWORD}@localhost:5672//
""",
    container=f"""\
  broker:
    image: rabbitmq:4-management
    environment:
      RABBITMQ_DEFAULT_USER: {USER}
      RABBITMQ_DEFAULT_PASS: {PASSWORD}
    ports:
      - "127.0.0.1:5672:5672"
      - "127.0.0.1:15672:15672" # Its web pages.
    healthcheck:
      test: ["CMD", "rabbitmq-diagnostics", "--quiet", "check_port_connectivity"]
      interval: 5s
      timeout: 10s
      retries: 20
""",
    settings="""\
        # Replicate queues on a cluster. Decide before the first start: existing queues
        # keep their type.
        # queue_type="quorum",
""",
)

_REDIS = Server(
    environment="""\
# The broker. In a password, percent-encode special characters: @ is %40, / is %2F. The
# number after the slash is that of the database.
WORKERTOOLBOX_BROKER_URL=redis://localhost:6379/0
""",
    container="""\
  broker:
    image: redis:8
    # On disk, so that queues outlive a restart.
    command: ["redis-server", "--appendonly", "yes"]
    ports:
      - "127.0.0.1:6379:6379"
    healthcheck:
      test: ["CMD", "redis-cli", "ping"]
      interval: 2s
      timeout: 5s
      retries: 20
""",
    extra="redis",
    client="redis",
)

_SQS = Server(
    environment=f"""\
# The broker: an emulator of SQS, which accepts any credentials. For AWS, write sqs://
# and only the region. The credentials then come from the environment, from ~/.aws, or
# from the role of the machine or container.
WORKERTOOLBOX_BROKER_URL=sqs://{USER}:{PASSWORD}@localhost:9324/
WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS='{{"is_secure": false, "region": "us-west-2"}}'
# Queues are named dev-NAME. Use one prefix for each deployment in an AWS account.
WORKERTOOLBOX_QUEUE_PREFIX=dev
""",
    container="""\
  broker:
    image: motoserver/moto:5 # Emulates SQS, and keeps the queues in memory.
    ports:
      - "127.0.0.1:9324:5000"
    healthcheck:
      test:
        - CMD
        - python
        - -c
        - import urllib.request as r; r.urlopen("http://localhost:5000/moto-api/")
      interval: 2s
      timeout: 5s
      retries: 20
""",
    extra="sqs",
    client="boto3",
)

_FOLDER = Server(
    environment="""\
# The folder of messages and results.
WORKERTOOLBOX_FOLDER=.workertoolbox
"""
)

_POSTGRESQL = Server(
    environment=f"""\
# The database.
WORKERTOOLBOX_RESULT_DB_HOST=localhost
WORKERTOOLBOX_RESULT_DB_PORT=5432
WORKERTOOLBOX_RESULT_DB_NAME=workers
WORKERTOOLBOX_RESULT_DB_USER={USER}
WORKERTOOLBOX_RESULT_DB_PASS={PASSWORD}
""",
    container=f"""\
  database:
    image: postgres:17
    environment:
      POSTGRES_DB: workers
      POSTGRES_USER: {USER}
      POSTGRES_PASSWORD: {PASSWORD}
    ports:
      - "127.0.0.1:5432:5432"
    healthcheck:
      test: ["CMD", "pg_isready", "--username", "{USER}", "--dbname", "workers"]
      interval: 2s
      timeout: 5s
      retries: 20
""",
    extra="postgresql",
    client="psycopg2",
)

_SQLITE = Server(
    environment="""\
# The database: a file, for services on one machine.
WORKERTOOLBOX_RESULT_BACKEND=workertoolbox+sqlite:///results.sqlite
"""
)

#: The choices of `--broker`.
BROKERS = {"rabbitmq": _RABBITMQ, "redis": _REDIS, "sqs": _SQS, EMBEDDED: _FOLDER}

#: The choices of `--database`.
DATABASES = {POSTGRESQL: _POSTGRESQL, SQLITE: _SQLITE}
