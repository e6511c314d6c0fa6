"""Find the executables of the servers, of a browser, and of a model checker.

Imports the standard library only, because `install_servers.py` runs without packages.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def find_rabbitmq() -> Path | None:
    """Find the script that starts RabbitMQ."""
    # On Debian, the script on PATH is a wrapper that changes the user.
    debian = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return debian if debian.exists() else _find("rabbitmq-server")


def find_redis() -> Path | None:
    """Find the Redis server."""
    return _find("redis-server")


def find_postgresql() -> Path | None:
    """Find the newest PostgreSQL server. Its folder also has `initdb`."""
    # Debian installs each version into its own folder, which is not on PATH.
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest or _find("postgres")


def find_pgbouncer() -> Path | None:
    """Find PgBouncer, the connection pooler for PostgreSQL."""
    # Debian installs it into a folder that is only on the PATH of root.
    debian = Path("/usr/sbin/pgbouncer")
    return debian if debian.exists() else _find("pgbouncer")


def find_chromium() -> Path | None:
    """Find Chromium, or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := _find(name))), None)


def find_spin() -> Path | None:
    """Find Spin, which checks models."""
    return _find("spin")


def find_compiler() -> Path | None:
    """Find the C compiler that Spin needs."""
    return _find("gcc") or _find("cc")


def _find(name: str) -> Path | None:
    path = shutil.which(name)
    return None if path is None else Path(path)
