"""Publish, fork, and publish in the children: `python forking_service.py HOW THREADS`.

It prints the ids of all tasks. Threads of the parent publish while it forks.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from ctypes import PyDLL
from functools import partial
from multiprocessing import get_context
from threading import Event, Thread

from celery import Celery
from kombu import Producer

from support.routing_service import SETTINGS, make_app

#: Processes that are forked, and tasks that each of them publishes.
CHILDREN, TASKS = 4, 3

#: The most tasks that a thread of the parent publishes meanwhile.
THREAD_TASKS = 50

#: Seconds after which a child that hangs is killed.
TIMEOUT_S = 30


def publish(app: Celery, count: int, producer: Producer | None = None) -> None:
    """Publish tasks, and print their ids."""
    ids = [app.send_task("export.note", producer=producer).id for _ in range(count)]
    os.write(1, "".join(f"{id}\n" for id in ids).encode())  # Lines do not mix.


def fork_in_c() -> int:
    """Fork as uWSGI does, which does not tell Python."""
    return int(PyDLL(None).fork())


def fork(call: Callable[[], int], work: Callable[[], None]) -> int:
    """Run a function in a forked process, and return the process id."""
    if pid := call():
        return pid
    signal.alarm(TIMEOUT_S)
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def fork_all(call: Callable[[], int], work: Callable[[], None]) -> list[int]:
    """Run a function in forked processes, and return their exit codes."""
    pids = [fork(call, work) for _ in range(CHILDREN)]
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def run_processes(work: Callable[[], None]) -> list[int | None]:
    """Run a function in processes of multiprocessing, and return their exit codes."""
    context = get_context("fork")
    processes = [context.Process(target=work, daemon=True) for _ in range(CHILDREN)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_S)
    return [process.exitcode for process in processes]


#: Ways to run a function in forked processes.
WAYS: dict[str, Callable[[Callable[[], None]], Sequence[int | None]]] = {
    "os.fork": partial(fork_all, os.fork),
    "uWSGI": partial(fork_all, fork_in_c),
    "multiprocessing": run_processes,
}


def main(how: str, count_of_threads: int) -> None:
    """Publish before, during and after a fork."""
    app = make_app(json.loads(os.environ[SETTINGS]))
    publish(app, 1)
    stop = Event()

    def publish_until_stopped() -> None:
        for _ in range(THREAD_TASKS):
            if stop.is_set():
                break
            publish(app, 1)

    threads = [Thread(target=publish_until_stopped) for _ in range(count_of_threads)]
    for thread in threads:
        thread.start()
    with app.producer_pool.acquire(block=True) as producer:
        publish(app, 1, producer)

        def work() -> None:
            publish(app, TASKS - 1)
            publish(app, 1, producer)  # The parent's: it connects again.

        codes = WAYS[how](work)
        publish(app, 1, producer)
    stop.set()
    for thread in threads:
        thread.join()
    publish(app, 1)
    if any(codes):
        sys.exit(f"exit codes of the children: {codes}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
