"""How long the server takes for each web page, with histories of several sizes.

The pages are asked for one after another, alone and beside a fleet that writes. What
one thread reads for all viewers (the overview and the pages of the fleet) is measured
three times: as a viewer gets it; after a restart, when the first viewer waits for the
database; and the overview with a window that nobody has asked for before. Then
viewers with the overview open count the statements that they cost the database.
`--rows N …` chooses the sizes, and `--databases URL …` existing databases.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count as count_from
from urllib.parse import urlencode

from sqlalchemy import Connection, create_engine, event
from starlette.applications import Starlette
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results.web import create_app
from cadasta.workertoolbox.results.web.answers.refresher import Refresher
from cadasta.workertoolbox.results.web.serving.server import collect_rarely
from measuring.figures import Row
from measuring.large_workflows import ENDED, OPEN, insert_large_workflows
from measuring.query_times import compare_sizes, scalar
from support.sample_history import DAYS, SAMPLE

#: Default numbers of tasks in the history.
SIZES = (1_000_000,)

#: The longest that a page may take, in milliseconds.
LIMIT_MS = 100.0

#: Seconds for which viewers have the overview open, and between two of their requests.
VIEWED_S, REQUEST_EVERY_S = 20.0, 5.0

#: Seconds after which an app forgets a window that only one round asks for.
FORGET_S = 1.0

#: Pages whose figures one thread reads for all viewers.
SHARED = (
    *("/", "/?since=24h", "/?since=7d", "/?since=30d", "/?since=3d&until=2d"),
    *("/queues", "/workers", "/services", "/schedules"),
)

#: Queries of the page of tasks.
SEARCHES = (
    "",
    "name:export.3",
    "name:export.rare status:failure",
    "status:failure name:export.*",
    "queue:queue3 args.size:1",
    "worker:{worker}",
)


def pages(store: TaskStore, connection: Connection) -> dict[str, Callable[[], object]]:
    """Return a request for each page, by title."""
    collect_rarely()  # As the server does.
    app = create_app(store)
    client = TestClient(app)
    samples = {
        column: scalar(connection, SAMPLE.format(column=column, days=DAYS // 3))
        for column in ("worker", "error_group")
    }
    old = scalar(connection, SAMPLE.format(column="id", days=DAYS // 2))
    root = scalar(connection, SAMPLE.format(column="parent_id", days=DAYS // 2))
    day = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    searches = (query.format(**samples) for query in SEARCHES)
    paths = [
        *SHARED,
        *("/errors", f"/errors/{samples['error_group']}", "/quarantine", "/health"),
        *(f"/tasks/{old}", "/tasks/live9999", f"/workflows/{root}"),
        *(f"/workflows/{ENDED}", f"/workflows/{OPEN}", f"/workflows/{ENDED}?rows=all"),
        *(f"/tasks?{urlencode({'query': query})}" for query in searches),
        f"/tasks?{urlencode({'query': 'name:*.rare', 'since': day})}",
    ]
    restarted = _app(store, Refresher(store, keep_s=0))
    first = TestClient(restarted)
    # The windows of earlier rounds have no viewer any more.
    forgetful = TestClient(_app(store, Refresher(store, forget_s=FORGET_S, keep_s=0)))
    return {
        **{path[:38]: partial(_get, client, path) for path in paths},
        "/?since=…, a new window": partial(_get_new, forgetful, count_from(43_200)),
        "/?since=…&until=…, a new window": partial(
            _get_new, forgetful, count_from(4320), until="2d"
        ),
        **{
            f"{path[:24]}, after a restart": partial(_get_first, restarted, first, path)
            for path in SHARED
        },
    }


def prepare(url: str) -> None:
    """Add large workflows to a database."""
    engine = create_engine(url)
    with engine.begin() as connection:
        insert_large_workflows(connection)
    engine.dispose()


def _get(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200, f"{path}: {response.text}"


def _get_new(client: TestClient, minutes: Iterator[int], *, until: str = "") -> None:
    """Ask for the overview with another window each time."""
    query = urlencode({"since": f"{next(minutes)}m", "until": until})
    _get(client, f"/?{query}")


def _get_first(app: Starlette, client: TestClient, path: str) -> None:
    app.state.site.refresher.stop()
    _get(client, path)


def _app(store: TaskStore, refresher: Refresher) -> Starlette:
    app = create_app(store)
    app.state.site = replace(app.state.site, refresher=refresher)
    return app


def viewers(store: TaskStore) -> Mapping[str, float]:
    """Return the statements that one and ten viewers of the overview cost."""
    url = store.engine.url.render_as_string(hide_password=False)
    found = {}
    for number in (1, 10):
        # An app keeps its answers up to date for a while, but not in a closed store.
        with TaskStore(url) as own:
            title = f"statements of {number} open overview(s), {VIEWED_S:.0f} s"
            found[title] = _count(own, number)
    return found


def _count(store: TaskStore, number: int) -> float:
    with (
        TestClient(create_app(store)) as client,
        ThreadPoolExecutor(number) as threads,
    ):
        _get(client, "/")  # The first answers of a server take longer.
        with _statements(store) as executed:
            for done in [threads.submit(_view, client) for _ in range(number)]:
                done.result()
    return len(executed)


def _view(client: TestClient) -> None:
    ends_at = time.monotonic() + VIEWED_S
    while time.monotonic() < ends_at:
        _get(client, "/")
        time.sleep(REQUEST_EVERY_S)


@contextmanager
def _statements(store: TaskStore) -> Iterator[list[str]]:
    """Yield the list of the statements that a store executes in the block."""
    executed: list[str] = []

    def note(_: object, __: object, statement: str, *others: object) -> None:
        executed.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        event.remove(store.engine, "before_cursor_execute", note)


def measure(*options: str) -> Iterator[Row]:
    """Yield the time of each page."""
    return compare_sizes(
        pages,
        options,
        others=viewers,
        prepare=prepare,
        sizes=SIZES,
        limit_ms=LIMIT_MS,
    )
