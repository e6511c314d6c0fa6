"""A broker and a database in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cadasta.workertoolbox.conf._errors import InvalidFolder

#: Seconds between two looks for messages in an empty queue.
POLLING_INTERVAL = 0.1


def embedded_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a broker and a database in a folder.

    Args:
        folder: An absolute path.
    """
    broker = folder / "broker"
    # Escaped like any URL: SQLAlchemy 2.1 takes the escapes out of a database's name.
    database = quote(str(folder / "results.sqlite3"))
    return {
        "broker_url": "filesystem://localhost/",
        "broker_transport_options": {
            "data_folder_in": str(broker / "queues"),
            "data_folder_out": str(broker / "queues"),
            "control_folder": str(broker / "bindings"),
            "polling_interval": POLLING_INTERVAL,
        },
        "result_backend": f"workertoolbox+sqlite:///{database}",
    }


def make_folder(name: str | os.PathLike[str]) -> Path:
    """Create a folder where there is none, with its parents, and return its whole path.

    Raises:
        InvalidFolder: It cannot be created, or a file stands there.
    """
    try:
        folder = Path(name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InvalidFolder(
            f"folder {os.fspath(name)!r} cannot be created ({error}); give another "
            "one with folder=…, or in the environment"
        ) from error
    return folder
