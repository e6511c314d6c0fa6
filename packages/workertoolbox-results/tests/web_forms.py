"""The forms in pages, as a browser sends them."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin

from httpx2 import Response
from starlette.testclient import TestClient


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((values.get("action", ""), {}))
        elif tag == "input" and "name" in values and self.forms:
            self.forms[-1][1][values["name"]] = values.get("value", "")
        elif tag == "button" and "formaction" in values:
            self.forms.append((values["formaction"], self.forms[-1][1]))


def forms_in(page: str) -> dict[str, dict[str, str]]:
    """Return the fields of each form of a page, by the path that it is sent to."""
    parser = _Forms()
    parser.feed(page)
    return dict(parser.forms)


def submit(client: TestClient, page: Response, action: str, **fields: str) -> Response:
    """Send the form of a page to a path, with these values of fields."""
    form = {**forms_in(page.text)[action], **fields}
    origin = urljoin(str(page.url), "/").rstrip("/")
    return client.post(action, data=form, headers={"origin": origin})
