"""A broker and a database in a folder, without a server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cadasta.workertoolbox.conf._errors import InvalidFolder

#: Seconds between two checks of an empty queue.
POLLING_INTERVAL_S = 0.1

#: The folder of messages, and the file of results, in the folder of a configuration.
_BROKER, _DATABASE = "broker", "results.sqlite3"


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
    broker = folder / _BROKER
    # Escaped, because SQLAlchemy 2.1 decodes percent escapes in the name of the file.
    database = quote(str(folder / _DATABASE))
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


def make_folder(name: str | os.PathLike[str], given: Mapping[str, Any]) -> Path:
    """Create a folder for broker and database, if it does not exist.

    Only its owner may read what is in it, whatever the umask of the process. The
    permissions of a folder that exists are kept, because other files may be in it.

    Args:
        name: Name of the folder.
        given: Settings that replace those of the folder. If they name another broker
            or another database, the folder's own is not created.

    Returns:
        The full path of the folder.

    Raises:
        InvalidFolder: The folder cannot be created, or a file has its name.
    """
    try:
        folder = Path(name).resolve()
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        broker, database = folder / _BROKER, folder / _DATABASE
        # The transport restricts what it creates in this folder in the same way.
        if "broker_url" not in given:
            broker.mkdir(mode=0o700, exist_ok=True)
        if "result_backend" not in given and not database.exists():
            # SQLite gives its other files the permissions of this one.
            database.touch(mode=0o600)
        for path in (
            *folder.glob(_BROKER),
            *folder.glob(f"{_BROKER}/*"),
            *folder.glob(f"{_DATABASE}*"),
        ):
            _restrict(path)
    except (OSError, ValueError) as error:
        raise InvalidFolder(
            f"folder {os.fspath(name)!r} cannot be created ({error}); name another one "
            "with folder=… or in the environment"
        ) from error
    return folder


def _restrict(path: Path) -> None:
    """Forbid access to others, which a file of an older release may allow."""
    mode = path.stat().st_mode
    if mode & 0o077:
        # A file of another user keeps its permissions.
        with suppress(PermissionError):
            path.chmod(mode & 0o700)
