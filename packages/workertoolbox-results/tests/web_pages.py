"""An app with the pages about one database, for a module of tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from html_pages import Element, parse
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results.web import create_app

#: A name that a page must not interpret.
HOSTILE = "<b>\x1b[31m\u202eexe</b>\"'&"
SHOWN_HOSTILE = "<b>\\x1b[31m\\u202eexe</b>\"'&"


@contextmanager
def filled_store(template: Path, folder: Path) -> Iterator[TaskStore]:
    """Yield a store of a new database, which is a copy of a template."""
    path = shutil.copy(template, folder)
    with TaskStore(f"workertoolbox+sqlite:///{path}") as store:
        yield store


@contextmanager
def open_app(store: TaskStore) -> Iterator[TestClient]:
    """Yield a client of an app with the pages about a database."""
    with TestClient(create_app(store)) as client:
        yield client


def page_of(client: TestClient, url: str, *, status: int = 200) -> Element:
    """Return a page as a tree."""
    response = client.get(url)

    assert response.status_code == status, response.text
    return parse(response.text)


def rows_of(page: Element) -> list[list[str]]:
    """Return the texts of the cells of all tables of a page."""
    return [
        [cell.text for cell in row.children if isinstance(cell, Element)]
        for body in page.all("tbody")
        for row in body.all("tr")
    ]


def hrefs_of(part: Element) -> dict[str, str]:
    """Return the targets of the links in a part of a page, by their texts."""
    return {each.text: each.attributes["href"] for each in part.all("a")}
