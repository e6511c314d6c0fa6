"""Every page in a real browser, over a generated week."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from cadasta.workertoolbox.results import TaskStore
from support.browser import (
    Watch,
    find_barriers,
    find_overflow,
    open_browser,
    open_page,
)
from support.web_pages import find_pages, serving, write_week

#: Titles of the pages; see `find_pages`.
TITLES = (
    *("overview", "overview of a week", "tasks", "failed tasks", "an invalid query"),
    *("no tasks", "a task", "a failed task", "a retried task", "a queued task"),
    *("a running task", "an untracked task", "an unknown task", "a failed workflow"),
    *("a running workflow", "errors", "an error group", "queues", "workers"),
    *("schedules", "services", "quarantine", "reruns", "a rerun", "health"),
)

#: Widths of windows in pixels: a phone, a laptop and a wide screen.
WIDTHS = (390, 1280, 1920)

#: The statuses of pages about something that is not there or not understood.
STATUSES = {"an invalid query": 400, "an unknown task": 404}


@pytest.fixture(scope="module")
def database(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database with a generated week."""
    url = f"sqlite:///{tmp_path_factory.mktemp('week') / 'week.sqlite'}"
    write_week(url)
    return url


@pytest.fixture(scope="module")
def paths(database: str) -> Mapping[str, str]:
    """The paths of the pages by title."""
    with TaskStore(database) as store:
        return find_pages(store)


@pytest.fixture(scope="module")
def address(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the pages."""
    with serving(database, tmp_path_factory.mktemp("web")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all tests of this file."""
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """A page in the browser, that all tests of this file use in turn."""
    with open_page(browser) as page:
        yield page


@pytest.fixture(scope="module")
def all_faults(page: Page, address: str) -> Watch:
    """What goes wrong in the page."""
    return Watch.of(page, urlsplit(address).netloc)


@pytest.fixture
def watch(all_faults: Watch) -> Watch:
    """What goes wrong in the page during a test."""
    all_faults.faults.clear()
    return all_faults


def test_each_kind_of_page_is_tested(paths: Mapping[str, str]) -> None:
    assert set(paths) == set(TITLES)


@pytest.mark.parametrize("title", TITLES)
def test_a_page_is_accessible_in_both_themes_and_fits_each_window(
    title: str, page: Page, watch: Watch, address: str, paths: Mapping[str, str]
) -> None:
    expected = STATUSES.get(title, 200)
    page.set_viewport_size({"width": WIDTHS[1], "height": 900})
    response = page.goto(address + paths[title])
    assert response is not None and response.status == expected

    page.emulate_media(color_scheme="light")
    barriers = [*find_barriers(page)]
    page.emulate_media(color_scheme="dark")  # Which changes colours only.
    barriers += find_barriers(page, "color-contrast")
    overflow = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        overflow[width] = find_overflow(page)
    watch.forget_status(expected)

    assert barriers == []
    assert overflow == dict.fromkeys(WIDTHS, [])
    assert watch.faults == []
