"""Every pool of Celery's runs workflows and stops in time, with and without events.

`hatch run faults --stops 100` stops a hundred workers of each kind.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import chain, chord, group

from support.conformance_harness import ConformanceHarness, open_conformance_harness
from support.delivery_counts import workflow_ids

#: Pools beside prefork, which all other tests use.
POOLS = ("gevent", "eventlet", "threads", "solo")


@pytest.fixture(scope="module", params=["rabbitmq"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConformanceHarness]:
    """The service without a worker."""
    folder = tmp_path_factory.mktemp(request.param)
    with open_conformance_harness(request, folder) as service:
        yield service


@pytest.mark.parametrize("options", [("-E",), ()], ids=["events", "quiet"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_runs_workflows_once_and_stops_warmly(
    service: ConformanceHarness, pool: str, options: tuple[str, ...]
) -> None:
    echo, total, retry = (
        service.app.tasks[name] for name in ("export.echo", "msg.total", "export.retry")
    )
    header = [echo.si(1), echo.si(2)]
    worker = ("worker", "-P", pool, "-c", "4", "-l", "INFO", *options)
    with service.running(*worker, ready="ready.") as process:
        results = [
            chain(echo.s(1), echo.s(), echo.s())(),
            group(echo.s(n) for n in range(5))(),
            chord([echo.s(n) for n in range(5)], total.s())(),
            chain(echo.s(0), chord(header, total.s()), echo.s())(),
        ]
        for result in results:
            service.expect(*workflow_ids(result))
        retried = retry.delay([0, 1])
        for retries, scheduled in enumerate([False, False, True]):
            service.expect(retried.id, retries=retries, scheduled=scheduled)
        service.settle()
        values = [result.get(timeout=20) for result in [*results, retried]]
        code = process.stop(timeout_s=20)

    assert values == [1, [0, 1, 2, 3, 4], 10, 3, 2]
    assert code == 0
    service.counts.accept_current()
