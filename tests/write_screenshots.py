"""Write a picture of each web page: light, dark, and as a phone shows it.

hatch run screenshots [FOLDER] [--pages TITLE …] [--looks light …] [--window]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "examples" / "export"))

from cadasta.workertoolbox.results import TaskStore  # noqa: E402
from support.browser import open_browser, open_page  # noqa: E402
from support.web_pages import find_pages, serving, write_week  # noqa: E402

#: The options of a context of Playwright for each picture of a page.
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 760}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 760}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 800}, "color_scheme": "light"},
}


def main() -> None:
    """Write the pictures."""
    options = _parse_options()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        database = options.database or f"sqlite:///{folder}/week.sqlite"
        if not options.database:
            write_week(database, share=1.0)
        with TaskStore(database) as store:
            paths = find_pages(store)
        address = stack.enter_context(serving(database, Path(folder)))
        chosen = {
            title: address + path
            for title, path in paths.items()
            if not options.pages or title in options.pages
        }
        _take(chosen, options.folder, options.looks, whole=not options.window)


def _take(
    urls: Mapping[str, str], folder: Path, looks: Iterable[str], *, whole: bool
) -> None:
    with open_browser() as browser:
        for look in looks:
            with open_page(browser, **LOOKS[look]) as page:
                for title, url in urls.items():
                    page.goto(url)
                    file = folder / f"{title.replace(' ', '-')}-{look}.png"
                    page.screenshot(path=file, full_page=whole)
                    print(file)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="screenshots", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=ROOT / ".screenshots", metavar="FOLDER"
    )
    parser.add_argument(
        "--database", metavar="URL", help="show this database, with a generated week"
    )
    parser.add_argument(
        "--pages", nargs="+", metavar="TITLE", help="only these pages", default=()
    )
    parser.add_argument(
        "--window", action="store_true", help="only what a window shows, not all"
    )
    parser.add_argument("--looks", nargs="+", choices=LOOKS, default=[*LOOKS])
    return parser.parse_args()


if __name__ == "__main__":
    main()
