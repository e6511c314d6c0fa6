"""The number of rounds that writers may store: a file that all of them read."""

from __future__ import annotations

from pathlib import Path

from support.polling import wait_until

#: The end of the file if no more rounds will be granted.
END = "end"

#: Seconds that a writer waits for the next round.
TIMEOUT_S = 600.0


class Rounds:
    """Grants rounds to processes by a file that they share."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def grant(self, number: int, *, end: bool = False) -> None:
        """Let writers store so many rounds altogether."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{number} {END if end else ''}")
        new.rename(self._file)

    def wait_for(self, round: int) -> bool:
        """Wait until a round may begin; return False if it will not be granted."""

        def check() -> bool:
            number, _, end = self._file.read_text().partition(" ")
            assert round < int(number) or end, f"round {round} is not granted"
            return True

        wait_until(check, timeout_s=TIMEOUT_S)
        return round < int(self._file.read_text().partition(" ")[0])
