"""The query is completed in a real browser, and a refresh leaves parts open."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from support.browser import TIMEOUT_MS, find_barriers, open_browser, open_page
from support.task_histories import task_message
from support.web_pages import serving

expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def page(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """A page of a browser; the database has one task, with long arguments."""
    folder = tmp_path_factory.mktemp("completion")
    url = f"sqlite:///{shutil.copy(sqlite_template, folder)}"
    message = task_message("1")
    message.body = json.dumps([["0123456789" * 1000], {}, {}])
    with TaskStore(url) as store, store.engine.begin() as connection:
        write_batch(connection, [read_task(message, seen_at=datetime.now(UTC))])
    with (
        serving(url, folder) as address,
        open_browser() as browser,
        open_page(browser, base_url=address) as page,
    ):
        yield page


@pytest.fixture
def box(page: Page) -> Locator:
    """The empty box for the query."""
    page.goto("/tasks")
    box = page.get_by_role("combobox", name="Query")
    box.focus()
    return box


def options(page: Page) -> Locator:
    return page.get_by_role("option")


def test_a_field_and_its_value_are_completed_by_keys(page: Page, box: Locator) -> None:
    box.press_sequentially("queue:export sta")
    expect(options(page).first).to_contain_text("status:")
    assert find_barriers(page) == []
    box.press("ArrowDown")
    expect(options(page).first).to_have_attribute("aria-selected", "true")
    expect(box).to_have_attribute("aria-activedescendant", "query-completions-0")
    box.press("Enter")
    expect(box).to_have_value("queue:export status:")

    box.press_sequentially("queu")
    expect(options(page)).to_have_count(1)
    box.press("ArrowUp")
    box.press("Tab")
    expect(box).to_have_value("queue:export status:queued ")
    expect(box).to_be_focused()
    box.press("Enter")
    expect(page.locator("#results tbody tr")).to_have_count(1)


def test_escape_closes_the_completions_and_keeps_the_query(
    page: Page, box: Locator
) -> None:
    box.press_sequentially("que")
    expect(options(page).first).to_be_visible()
    box.press("Escape")
    expect(options(page)).to_have_count(0)
    expect(box).to_have_attribute("aria-expanded", "false")
    expect(box).to_have_value("que")


def test_a_completion_is_clicked_in_the_middle_of_a_query(
    page: Page, box: Locator
) -> None:
    box.fill("name:expo status:queued")
    for _ in range(len(" status:queued")):
        box.press("ArrowLeft")
    box.press_sequentially("r")
    options(page).get_by_text("export.echo").click()

    expect(box).to_have_value("name:export.echo status:queued")
    expect(box).to_be_focused()


def test_a_refresh_leaves_an_opened_part_open(page: Page) -> None:
    page.goto("/tasks/1")
    page.get_by_text("args, 10.0 kB").click()
    with page.expect_response(lambda response: "/tasks/1" in response.url):
        page.evaluate("htmx.trigger('[data-refresh]', 'refresh')")
    page.wait_for_function("!document.querySelector('.htmx-request')")

    expect(page.locator("#long-args")).to_have_attribute("open", "")
    expect(page.get_by_role("button", name="Copy id")).to_be_visible()


def test_copy_buttons_are_hidden_where_a_page_may_not_copy(page: Page) -> None:
    # As over HTTP from another machine.
    other = page.context.new_page()
    other.add_init_script("delete Navigator.prototype.clipboard")
    other.goto("/tasks/1")
    assert other.evaluate("!navigator.clipboard")
    expect(other.locator(".copy").first).to_be_hidden()
    other.close()
