"""Where the programs of the servers are.

Only the standard library, as `install_servers.py` asks before anything is there.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def find_rabbitmq() -> Path | None:
    """Find the script that starts RabbitMQ and its companions beside it."""
    # On Debian the one in PATH is a wrapper that changes the user.
    debian = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return debian if debian.exists() else _find("rabbitmq-server")


def find_redis() -> Path | None:
    """Find the Redis server."""
    return _find("redis-server")


def find_postgresql() -> Path | None:
    """Find the PostgreSQL server, the newest one; `initdb` is beside it."""
    # Debian keeps each version in a folder of its own, none of them in PATH.
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest or _find("postgres")


def find_pgbouncer() -> Path | None:
    """Find PgBouncer, the pooler of connections to PostgreSQL."""
    # Debian keeps it where only root's PATH leads.
    debian = Path("/usr/sbin/pgbouncer")
    return debian if debian.exists() else _find("pgbouncer")


def _find(name: str) -> Path | None:
    path = shutil.which(name)
    return None if path is None else Path(path)
