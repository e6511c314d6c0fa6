"""The web pages in a real browser, while the export example is at work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from support.browser import (
    TIMEOUT_MS,
    Watch,
    find_barriers,
    open_browser,
    open_page,
)
from support.export_fleet import ExportFleet, export_fleet

#: Number of exports, each of which has ten tasks.
EXPORTS = 3

#: Milliseconds after which a page is read again once.
REFRESHED_MS = 6_000

PASSWORD = "correct horse battery"

expect.set_options(timeout=TIMEOUT_MS)


class Site(NamedTuple):
    """The pages of a fleet.

    Attributes:
        ids: The workflows that have ended, the latest first.
    """

    fleet: ExportFleet
    address: str
    ids: list[str]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportFleet]:
    """The export example at work."""
    with export_fleet(tmp_path_factory.mktemp("export")) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def site(fleet: ExportFleet) -> Iterator[Site]:
    """Its pages, when some exports have ended."""
    ids = [fleet.export(f"{n}.zip") for n in range(EXPORTS)]
    for id in ids:
        fleet.wait_for(id)
    with fleet.serving() as address:
        yield Site(fleet, address, ids[::-1])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all tests of this file."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page in the browser."""
    with open_page(browser, base_url=site.address) as page:
        yield page


@pytest.fixture(autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[Watch | None]:
    """Fail a test if something goes wrong in its page."""
    if "page" not in request.fixturenames:
        yield None
        return
    site: Site = request.getfixturevalue("site")
    watch = Watch.of(request.getfixturevalue("page"), urlsplit(site.address).netloc)
    yield watch

    assert watch.faults == []


def rows(page: Page) -> Locator:
    """Return the rows of the list of tasks."""
    return page.locator("#results tbody tr")


def stop_clock(page: Page) -> None:
    """Let time pass in the page only while a test runs its clock."""
    now = datetime.now(UTC)
    page.clock.install(time=now)
    page.clock.pause_at(now + timedelta(seconds=1))


def test_a_workflow_is_followed_to_its_failed_task_and_the_error(
    page: Page, site: Site
) -> None:
    page.goto("/")
    page.get_by_role("navigation", name="Pages").get_by_role(
        "link", name="Tasks"
    ).click()
    page.get_by_label("Query").fill("name:export.project")
    page.get_by_role("button", name="Search").click()
    expect(rows(page)).to_have_count(EXPORTS)

    rows(page).first.get_by_role("link").first.click()
    expect(page).to_have_url(f"{site.address}/tasks/{site.ids[0]}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("export.project")
    page.get_by_role("link", name=re.compile("workflow", re.I)).first.click()
    expect(page.get_by_role("main")).to_contain_text("partly failed")

    page.get_by_role("link", name="msg.webhook").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("msg.webhook")
    expect(page.locator(".status.bad").first).to_have_text("FAILURE")
    expect(page.get_by_role("main")).to_contain_text("WebhookRefused")
    expect(page.get_by_role("main")).to_contain_text("answered 410 Gone")


def test_a_search_has_pages_and_its_state_is_in_the_address(
    page: Page, watch: Watch
) -> None:
    page.goto("/tasks?limit=20")
    expect(rows(page)).to_have_count(20)
    ids = set(rows(page).evaluate_all("rows => rows.map((row) => row.id)"))
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("link", name="First page")).to_be_visible()
    more = set(rows(page).evaluate_all("rows => rows.map((row) => row.id)"))

    assert more and not ids & more
    page.reload()
    assert more == set(rows(page).evaluate_all("rows => rows.map((row) => row.id)"))

    page.get_by_role("link", name="failure", exact=True).click()
    expect(rows(page)).to_have_count(EXPORTS)
    assert "status%3Afailure" in page.url
    page.get_by_label("Query").fill("status:nonsense")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("nonsense")
    watch.forget_status(400)


def test_a_refresh_shows_new_tasks_without_a_jump(page: Page, site: Site) -> None:
    stop_clock(page)
    page.set_viewport_size({"width": 1000, "height": 500})
    page.goto("/tasks")
    link = rows(page).nth(15).get_by_role("link").first
    link.focus()
    link.scroll_into_view_if_needed()
    before = page.evaluate("document.activeElement.getBoundingClientRect().top")
    id = page.evaluate("document.activeElement.href")
    newest = rows(page).first.get_attribute("id")
    site.fleet.wait_for(site.fleet.export("new.zip"))
    page.clock.run_for(REFRESHED_MS)
    expect(rows(page).first).not_to_have_id(newest or "")

    assert page.evaluate("document.activeElement.href") == id
    after = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert after == pytest.approx(before, abs=3)


def test_a_hidden_tab_does_not_ask_the_server(page: Page, site: Site) -> None:
    asked: list[Request] = []
    stop_clock(page)
    page.goto("/tasks")
    page.on("request", lambda request: asked.append(request))
    with page.expect_response(lambda response: "/tasks" in response.url):
        page.clock.run_for(REFRESHED_MS)
    page.evaluate(
        "Object.defineProperty(document, 'visibilityState',"
        " {value: 'hidden', configurable: true})"
    )
    asked.clear()
    page.clock.run_for(20 * REFRESHED_MS)
    assert asked == []

    page.evaluate("delete document.visibilityState")
    with page.expect_response(lambda response: "/tasks" in response.url):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_the_keyboard_is_enough(page: Page, site: Site) -> None:
    keys = page.keyboard
    page.goto("/")
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keys.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()

    keys.press("g")
    keys.press("t")
    page.wait_for_url(f"{site.address}/tasks")  # Loaded, so that it knows its keys.
    keys.press("/")
    expect(page.get_by_label("Query")).to_be_focused()
    keys.type("name:msg.webhook ")
    keys.press("Enter")
    page.wait_for_url(re.compile("query=name"))
    keys.press("j")
    keys.press("j")
    keys.press("k")
    first = rows(page).first.get_by_role("link").first
    expect(first).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("msg.webhook")


def test_keys_can_be_switched_off_and_on_again(page: Page, site: Site) -> None:
    keys, dialog = page.keyboard, page.get_by_role("dialog")
    page.goto("/queues")
    keys.press("?")
    dialog.get_by_label("Use these keys").uncheck()
    keys.press("Escape")
    page.goto("/tasks")
    for key in ("?", "/", "j", "g", "q"):
        keys.press(key)
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement === document.body")
    expect(page).to_have_url(f"{site.address}/tasks")

    page.get_by_role("button", name="Keys").click()
    dialog.get_by_label("Use these keys").check()
    keys.press("Escape")
    keys.press("/")
    expect(page.get_by_label("Query")).to_be_focused()


def test_the_pages_work_without_javascript(browser: Browser, site: Site) -> None:
    with open_page(browser, base_url=site.address, java_script_enabled=False) as page:
        page.goto("/")
        page.get_by_label("Search for tasks").fill("name:msg.webhook")
        page.get_by_label("Search for tasks").press("Enter")
        expect(rows(page).first).to_contain_text("msg.webhook")
        page.get_by_role("link", name="all", exact=True).click()
        page.goto("/tasks?limit=20")
        page.get_by_role("link", name="Next page").click()
        expect(page.get_by_role("link", name="First page")).to_be_visible()

        page.goto(f"/workflows/{site.ids[0]}")
        page.get_by_role("link", name="msg.webhook").first.click()
        expect(page.get_by_role("main")).to_contain_text("answered 410 Gone")
        for name in ("Errors", "Queues", "Workers", "Schedules", "Services", "Health"):
            page.get_by_role("navigation", name="Pages").get_by_role(
                "link", name=name
            ).click()
            expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_who_does_not_know_the_password_is_refused(
    browser: Browser, fleet: ExportFleet, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    with (
        fleet.serving("--operator", "--password-file", str(file)) as address,
        open_page(browser, base_url=address) as page,
    ):
        page.goto("/queues")
        expect(page).to_have_url(re.compile("/login"))
        assert find_barriers(page) == []
        page.get_by_label("Your name").fill("Ada")
        page.get_by_label("Password").fill("a guess")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("wrong")
        page.goto("/tasks")
        expect(page.get_by_label("Password")).to_be_visible()

        page.get_by_label("Your name").fill("Ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Tasks")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Password")).to_be_visible()
        page.goto("/tasks")
        expect(page).to_have_url(re.compile("/login"))
