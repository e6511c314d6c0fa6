"""A broker and a database in a folder, without a server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cadasta.workertoolbox.conf._errors import InvalidFolder

#: Seconds between two checks of an empty queue.
POLLING_INTERVAL_S = 0.1


def with_folder(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return settings, with those of a folder for the ones that are not given.

    Transport options that are given are added to the folder's.

    Args:
        settings: Keywords of `Config`.
        folder: An absolute path.
    """
    embedded = embedded_settings(folder)
    options = settings.get("broker_transport_options") or {}
    if isinstance(options, Mapping):
        options = {**embedded["broker_transport_options"], **options}
    return {**embedded, **settings, "broker_transport_options": options}


def embedded_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a broker and a database in a folder.

    Args:
        folder: An absolute path.
    """
    broker = folder / "broker"
    # Escaped, because SQLAlchemy 2.1 decodes percent escapes in the name of the file.
    database = quote(str(folder / "results.sqlite3"))
    return {
        "broker_url": "filesystem://localhost/",
        "broker_transport_options": {
            "data_folder_in": str(broker / "queues"),
            "data_folder_out": str(broker / "queues"),
            "control_folder": str(broker / "bindings"),
            "polling_interval": POLLING_INTERVAL_S,
        },
        "result_backend": f"workertoolbox+sqlite:///{database}",
    }


def make_folder(name: str | os.PathLike[str]) -> Path:
    """Create a folder, with its parents, if it does not exist; return its full path.

    Raises:
        InvalidFolder: The folder cannot be created, or a file has its name.
    """
    try:
        folder = Path(name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InvalidFolder(
            f"folder {os.fspath(name)!r} cannot be created ({error}); name another one "
            "with folder=… or in the environment"
        ) from error
    return folder
