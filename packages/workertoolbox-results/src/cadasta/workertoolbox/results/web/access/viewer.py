"""The user of a request, and what that user may do."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from cadasta.workertoolbox.results.web.access.sessions import Session, Sessions


@dataclass(frozen=True, slots=True)
class Viewer:
    """The user of a request.

    Attributes:
        name: The name of the user; empty if it is not known.
        address: The address of the client.
        rights: What the user may change: keys of `RIGHTS`.
        session: The session, to which forms belong.
        sessions: Makes the tokens of forms.
        can_log_out: Whether a password began the session.
    """

    name: str = ""
    address: str = ""
    rights: frozenset[str] = frozenset()
    session: Session | None = None
    sessions: Sessions | None = None
    can_log_out: bool = False

    def may(self, right: str) -> bool:
        """Return whether the user may do something."""
        return right in self.rights

    @property
    def form_token(self) -> str:
        """A new token for a form."""
        if self.session is None or self.sessions is None:
            return ""
        return self.sessions.form_token(self.session)

    @property
    def signature(self) -> str:
        """Who is stored as the one who changed something."""
        return f"{self.name or 'anonymous'} at {self.address}"


def viewer_of(connection: HTTPConnection) -> Viewer:
    """Return the user of a request; of one that was refused, nothing is known."""
    found: Viewer = getattr(connection.state, "viewer", None) or Viewer()
    return found
