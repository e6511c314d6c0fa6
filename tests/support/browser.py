"""A real browser, Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from servers.availability import skip_or_fail
from servers.executables import find_chromium

#: The sandbox does not work for root. The other options save time.
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")

#: Milliseconds for an action or a wait: a busy machine draws a page in a few seconds.
TIMEOUT_MS = 20_000

#: Findings of axe-core, each as one line.
_AXE = """\
async (only) => {
  const options = {resultTypes: ["violations"], ...(only ? {runOnly: only} : {})};
  const found = await axe.run(document, options);
  return found.violations.flatMap((rule) =>
    rule.nodes.map((node) =>
      `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary}`));
}
"""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Yield a browser; skip or fail the test if none is installed."""
    executable = find_chromium()
    if executable is None:
        skip_or_fail("Chromium", "install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=[*OPTIONS]
        )
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """Yield a page of a browser with its own cookies.

    Args:
        options: Those of a context of Playwright, such as `java_script_enabled`.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    context.close()


@dataclass
class Watch:
    """What goes wrong in a page while a test uses it.

    Attributes:
        host: The host and port that requests may go to.
        faults: Errors on the console (those of the content security policy too) or in
            scripts, and requests to other hosts.
    """

    host: str
    faults: list[str] = field(default_factory=list)

    def forget_status(self, status: int) -> None:
        """Forget that a page had a status, which Chromium logs as an error."""
        text = f"the server responded with a status of {status}"
        self.faults = [each for each in self.faults if text not in each]

    @classmethod
    def of(cls, page: Page, host: str) -> Watch:
        """Watch a page from now on."""
        watch = cls(host)
        page.on("console", watch._note_message)
        page.on("pageerror", lambda error: watch.faults.append(f"script: {error}"))
        page.on("request", watch._note_request)
        return watch

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self.host:
            self.faults.append(f"request to {request.url}")


def find_barriers(page: Page, *rules: str) -> Sequence[str]:
    """Return what axe-core finds in a page, by WCAG and by good practice.

    Args:
        rules: The only rules to check; by default all.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_axe_script())
    found: list[str] = page.evaluate(_AXE, [*rules] or None)
    return found


@cache
def _axe_script() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def find_overflow(page: Page) -> Sequence[str]:
    """Return the elements that make the document wider than the window, if any."""
    found: list[str] = page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= width) return [];
          const scrolls = (each) => each !== document.body &&
            (getComputedStyle(each).overflowX !== "visible" ||
              scrolls(each.parentElement));
          const wide = [...document.querySelectorAll("body *")]
            .filter((each) => each.getBoundingClientRect().right > width + 1)
            .filter((each) => !scrolls(each.parentElement))
            .map((each) => each.outerHTML.slice(0, 120))
            .slice(0, 5);
          return wide.length ? wide : [document.documentElement.scrollWidth];
        }"""
    )
    return found
