"""New rows of the journal `workertoolbox_operation`."""

from __future__ import annotations

import getpass
import socket
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Connection, insert

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text
from cadasta.workertoolbox.results._database.tables import operation

#: Characters of an operation's key: few, because people type it.
KEY_LENGTH = 12

#: Maximum length in characters of each text.
MAX_LENGTH = 1000


def new_key() -> str:
    """Return a random key for an operation."""
    return uuid4().hex[:KEY_LENGTH]


def whoami() -> str:
    """Return the user and the host of this process, such as `ann@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # The user id has no name, as in some containers.
        user = "?"
    return f"{user}@{socket.gethostname()}"


def journal_text(value: str | None) -> str | None:
    """Return a text as the journal keeps it."""
    return None if value is None else jsonable_text(value)[:MAX_LENGTH]


def add_operation(
    connection: Connection,
    *,
    id: str,
    kind: str,
    made_by: str | None,
    reason: str | None,
    selection: str,
    started_at: datetime,
    tasks: int = 0,
    finished_at: datetime | None = None,
) -> None:
    """Insert an operation; see `Operation` for the meaning of the values.

    Args:
        made_by: By default, the user and the host of this process.
    """
    values = {
        "id": id,
        "kind": kind,
        "made_by": journal_text(made_by or whoami()),
        "reason": journal_text(reason),
        "selection": journal_text(selection),
        "tasks": tasks,
        "started_at": started_at,
        "finished_at": finished_at,
    }
    connection.execute(insert(operation), values)
