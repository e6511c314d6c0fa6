"""Install missing servers and programs for the shared tests: with apt-get, as root.

On other systems, only report which tests will be skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers.executables import (
    find_chromium,
    find_compiler,
    find_pgbouncer,
    find_postgresql,
    find_rabbitmq,
    find_redis,
    find_spin,
)

#: Seconds to wait for another apt-get to end.
LOCK_TIMEOUT_S = 120


@dataclass(frozen=True)
class Server:
    """A server, or another program, that tests need.

    Attributes:
        name: The name for messages.
        package: The Debian package.
        variable: The variable with the URL of a server to use instead, if there is one.
        find: Returns the path of the executable, or None.
    """

    name: str
    package: str
    variable: str | None
    find: Callable[[], Path | None]

    def is_missing(self) -> bool:
        """Return whether the tests that need the server cannot run."""
        given = self.variable is not None and os.environ.get(self.variable)
        return not given and self.find() is None

    @property
    def advice(self) -> str:
        """What to do if the server is missing."""
        install = f"install {self.package}"
        return f"{install} or set {self.variable}" if self.variable else install


SERVERS = (
    Server("RabbitMQ", "rabbitmq-server", "WORKERTOOLBOX_TEST_AMQP_URL", find_rabbitmq),
    Server("Redis", "redis-server", "WORKERTOOLBOX_TEST_REDIS_URL", find_redis),
    Server(
        "PostgreSQL", "postgresql", "WORKERTOOLBOX_TEST_POSTGRESQL_URL", find_postgresql
    ),
    Server("PgBouncer", "pgbouncer", None, find_pgbouncer),
    Server("Chromium", "chromium", None, find_chromium),
    Server("Spin", "spin", None, find_spin),
    Server("A C compiler", "gcc", None, find_compiler),
)


def main() -> int:
    """Install the missing servers, and return an exit code."""
    code = 0
    missing = [server for server in SERVERS if server.is_missing()]
    if missing and _may_install():
        code = _install([server.package for server in missing])
    for server in SERVERS:
        if server.is_missing():
            print(
                f"{server.name} is missing, its tests will be skipped; {server.advice}"
            )
    return code


def _may_install() -> bool:
    is_linux = sys.platform == "linux"
    return is_linux and os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install(packages: list[str]) -> int:
    print(f"Installing {', '.join(packages)}", flush=True)
    # The tests start their own servers. In runlevel 1, Debian's packages start none.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    apt_get = ["apt-get", "--quiet", "-o", f"DPkg::Lock::Timeout={LOCK_TIMEOUT_S}"]
    for arguments in (
        ["update"],
        ["install", "--yes", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(
            [*apt_get, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            print(f"apt-get {arguments[0]} failed:", done.stdout, sep="\n")
            return 1 if os.environ.get("CI") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
