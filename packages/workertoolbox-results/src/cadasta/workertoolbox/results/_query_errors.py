"""The errors of queries.

ResultsError
├── InvalidPage (ValueError)
├── InvalidPageSize (ValueError)
├── InvalidQuery (ValueError)
├── InvalidTime (ValueError)
└── QueryTimeout (TimeoutError)
"""

from __future__ import annotations

from cadasta.workertoolbox.results._errors import ResultsError

#: How to write a time; error messages show it after "write".
TIME_FORM = (
    "a time back from now (2h, 30d), now, today, yesterday, HH:MM, a date "
    "(2026-11-27), or a date and time in ISO 8601 (2026-11-27T14:30:00+01:00)"
)

#: Maximum number of characters of a query that an error shows.
_MAX_SHOWN = 120


class InvalidPage(ResultsError, ValueError):
    """A page token is malformed, or belongs to another query."""

    def __init__(self, page: str, reason: str = "is not a page token") -> None:
        super().__init__(page, reason)
        self.page = page
        self.reason = reason

    def __str__(self) -> str:
        shown = self.page if len(self.page) <= _MAX_SHOWN else "…"
        return (
            f"page {shown!r} {self.reason}; use the token that the same query returned "
            "for its next page, or leave it out for the first page"
        )


class InvalidPageSize(ResultsError, ValueError):
    """The number of entries on a page is malformed or out of range."""

    def __init__(self, text: str, maximum: int) -> None:
        super().__init__(text, maximum)
        self.text = text
        self.maximum = maximum

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= _MAX_SHOWN else "…"
        return f"limit must be a number from 1 to {self.maximum}, got {shown!r}"


class InvalidQuery(ResultsError, ValueError):
    """A query cannot be understood.

    Attributes:
        query: The text of the query.
        column: Where the error is, in characters from 0.
        reason: What is wrong there, and what to write instead.
    """

    def __init__(self, query: str, column: int = 0, reason: str = "is invalid") -> None:
        super().__init__(query, column, reason)
        self.query = query
        self.column = column
        self.reason = reason

    def __str__(self) -> str:
        return f"column {self.column + 1} of the query: {self.reason}"

    @property
    def marked(self) -> str:
        """The query, and below it a caret that points at the column: two lines."""
        # Line breaks and tabs would move the caret.
        line = "".join(each if each.isprintable() else " " for each in self.query)
        start = max(0, min(self.column - _MAX_SHOWN // 2, len(line) - _MAX_SHOWN))
        return f"{line[start:][:_MAX_SHOWN]}\n{' ' * (self.column - start)}^"


class InvalidTime(ResultsError, ValueError):
    """A text is not a time."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"{self.text!r} is not a time; write {TIME_FORM}"


class QueryTimeout(ResultsError, TimeoutError):
    """The database needed too long to answer a query, and has cancelled it.

    Attributes:
        narrow: What makes the query shorter; empty if nothing does.
        after_s: Seconds after which it was cancelled.
    """

    def __init__(self, narrow: str = "", after_s: float = 0) -> None:
        super().__init__(narrow, after_s)
        self.narrow = narrow
        self.after_s = after_s

    def __str__(self) -> str:
        advice = (
            f"to narrow it: {self.narrow}"
            if self.narrow
            else "the database is busy or locked, so try again"
        )
        return (
            f"the query was cancelled after {self.after_s:.2g} s; {advice}; or give "
            "TaskStore a longer timeout_s"
        )
