from __future__ import annotations

import subprocess
import sys

from cadasta.workertoolbox import routing


def test_every_public_name_is_there_and_sorted() -> None:
    assert routing.__all__ == sorted(routing.__all__)
    assert all(hasattr(routing, name) for name in routing.__all__)


def test_importing_loads_only_what_a_plain_producer_has_loaded() -> None:
    program = (
        "import sys\n"
        "from celery import Celery\n"
        "Celery('plain', broker='memory://').send_task('plain.note')\n"
        "before = set(sys.modules)\n"
        "from cadasta.workertoolbox.routing import Routing\n"
        "added = sys.modules.keys() - before\n"
        "print([name for name in added if not name.startswith('cadasta')])"
    )
    output = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert output == "[]\n"


def test_importing_loads_neither_clients_of_brokers_nor_worker_modules() -> None:
    unneeded = {"alembic", "boto3", "redis", "rich", "sqlalchemy", "celery.worker"}
    program = (
        "import sys, cadasta.workertoolbox.routing\n"
        f"print({unneeded} & sys.modules.keys())"
    )
    output = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert output == "set()\n"
