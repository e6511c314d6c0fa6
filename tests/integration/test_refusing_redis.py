"""A Redis server that answers, and refuses commands for now."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis as redis_client

from servers.access import BrokerAccess
from servers.redis import node as redis_node
from support.polling import wait_until
from support.processes import Process
from support.queue_contents import RedisContents
from support.routing_processes import routing_app, run_worker, wait_for_executions


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_worker_waits_for_a_redis_server_that_cannot_write(
    tmp_path: Path, pool: str
) -> None:
    server = redis_node(tmp_path)
    with server.running(), redis_client.Redis.from_url(server.server.url) as client:
        queues = RedisContents(
            BrokerAccess(server.server.url, {"global_keyprefix": ""})
        )
        with routing_app(queues) as app, ExitStack() as stack:
            ids = [app.send_task("export.note").id]
            with _busy(client):
                worker = stack.enter_context(
                    run_worker(queues, tmp_path, "-P", pool, "-c", "1")
                )
                worker.wait_for("BUSY")
            wait_for_executions(tmp_path, ids)
            for fault in (_replica, _full_memory):
                with fault(client):
                    _provoke(app, client, worker)
                ids.append(app.send_task("export.note").id)
                wait_for_executions(tmp_path, ids)

            assert worker.exit_code is None


@contextmanager
def _busy(client: Any) -> Iterator[None]:
    """Run a script that does not end, for a block."""
    client.config_set("lua-time-limit", 10)
    with ThreadPoolExecutor(1) as pool, suppress(redis_client.ResponseError):
        script = pool.submit(client.eval, "while true do end", 0)
        wait_until(lambda: _is_busy(client))
        try:
            yield
        finally:
            client.script_kill()
        script.result()


def _is_busy(client: Any) -> bool:
    try:
        client.ping()
    except redis_client.ResponseError as error:
        return "BUSY" in str(error)
    return False


@contextmanager
def _replica(client: Any) -> Iterator[None]:
    client.replicaof("127.0.0.1", 1)
    yield
    client.replicaof("NO", "ONE")


@contextmanager
def _full_memory(client: Any) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    yield
    client.config_set("maxmemory", 0)


def _provoke(app: Any, client: Any, worker: Process) -> None:
    reconnects = worker.text.count("Trying to")
    with pytest.raises(Exception, match="READONLY|OOM|replica|maxmemory"):
        app.send_task("export.note", retry=False)
    client.client_kill_filter(_type="normal", skipme=True)
    wait_until(lambda: worker.text.count("Trying to") > reconnects)


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_producer_that_may_not_run_scripts_puts_a_task_and_its_copy(
    queues: RedisContents,
) -> None:
    user, address = uuid4().hex, urlsplit(queues.access.url)
    netloc = f"{user}:secret@{address.hostname}:{address.port}"
    with queues.connected() as client:
        client.acl_setuser(
            user,
            enabled=True,
            passwords=["+secret"],
            keys=["*"],
            channels=["*"],
            categories=["+@all", "-@scripting"],
        )
        with routing_app(
            queues, broker_url=address._replace(netloc=netloc).geturl()
        ) as app:
            task_id = app.send_task("export.note").id
        client.acl_deluser(user)

    assert queues.ids("export") == queues.ids("platform.fifo") == [task_id]
