"""The command of the demo, step by step."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from kombu.exceptions import OperationalError
from rich.console import Console
from rich.filesize import decimal

from cadasta.workertoolbox.conf import ConfError
from cadasta.workertoolbox.results import ResultsError, TaskStore, upgrade
from cadasta.workertoolbox.routing import RoutingError
from export_demo.pages import Address, show_pages
from export_demo.processes import SIGNALS, ProcessEnded, Processes
from export_demo.progress import Progress
from export_service.client import schedule
from export_service.verification import BrokenArchive, verify
from export_service.workflow import find_failures, find_problems, planned

SERVICE = Path(__file__).resolve().parents[1]
REPOSITORY = SERVICE.parents[1]

#: Seconds between two queries.
LOOK_EVERY_S = 0.2

#: Variables that direct Celery's command line to another app or broker, in addition to
#: those that begin with `CELERY_`.
FOREIGN = {"APP", "BROKER_URL", "CONFIG_MODULE", "LOADER", "RESULT_BACKEND"}


class DemoFailed(Exception):
    """The export failed."""


class Interrupted(KeyboardInterrupt):
    """The demo received a signal to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> int:
    """Run the demo and return its exit code."""
    options = _parse_options()
    if not options.folder.is_dir():
        return _fail(f"{str(options.folder)!r} is not a folder", code=2)
    if options.output and options.output.is_dir():
        return _fail(
            f"{str(options.output)!r} is a folder; give the path of a zip file", code=2
        )
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    try:
        _run(options)
    except Interrupted as error:
        return _fail("interrupted; all processes are stopped", code=128 + error.number)
    except UnicodeEncodeError as error:
        return _fail(f"{error.object!r} is not valid UTF-8; rename it", code=2)
    except (
        ConfError,
        DemoFailed,
        OperationalError,
        OSError,
        ProcessEnded,
        ResultsError,
        RoutingError,
    ) as error:
        return _fail(str(error), code=1)
    return 0


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Export a folder with a worker and a monitor of its own, and show "
        "what the database knows about it.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        type=Path,
        default=REPOSITORY,
        help="what to export; by default the repository itself",
    )
    parser.add_argument(
        "--fail", action="store_true", help="also start a task that fails on purpose"
    )
    parser.add_argument(
        "--output",
        metavar="PATH",
        type=Path,
        help="the zip file to write; by default a new one in .workertoolbox/exports",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=600.0,
        help="how long the export may take; by default 600",
    )
    parser.add_argument(
        "--web",
        action="store_true",
        help="add a generated week of history, and show all in web pages until Ctrl-C",
    )
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        default="127.0.0.1:8555",
        help="the address of these pages; by default 127.0.0.1:8555",
    )
    return parser.parse_args()


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)


def _fail(message: str, *, code: int) -> int:
    print(f"demo: {message}", file=sys.stderr)
    return code


def _run(options: argparse.Namespace) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    address = Address.free(options.bind) if options.web else None
    home = _set_environment()
    run = f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
    name = options.folder.resolve().name or "root"
    logs = home / "logs"
    output = options.output or home / "exports" / f"{name}-{run}.zip"
    # The app reads the environment when it is imported.
    from export_service.celery import app

    upgrade(app.conf.result_backend)
    exported_at = datetime.now(UTC)
    with TaskStore.for_app(app) as store, Processes() as processes:
        _start(processes, logs=logs, run=run)
        export = schedule(app, options.folder, output, fail=options.fail)
        console.print(f"Export of {options.folder.resolve()}, task {export.id}:")
        with Progress(console) as progress:
            problems = _follow(
                export.id, store, processes, progress, timeout_s=options.timeout
            )
        if not options.web:  # They end while the workflow is printed.
            processes.terminate()
        if store.find(export.id):
            subprocess.run(_celery("tasks", "show", export.id))
        if problems:
            raise DemoFailed("\n".join([*problems, f"the logs are in {logs}"]))
        _verify(output, options.folder, exported_at, console)
        _print_commands(export.id, home, console)
        if address is not None:
            serve = _celery("tasks", "web", "--bind", str(address))
            processes.start("web server", serve, log=logs / f"{run}-web.log")
            with suppress(Interrupted):
                show_pages(app, store, processes, address, console)


def _set_environment() -> Path:
    """Set the environment of the processes, and return the folder for all files."""
    for variable in list(os.environ):
        if variable in FOREIGN or variable.startswith("CELERY_"):
            del os.environ[variable]
    home = Path(os.environ.get("WORKERTOOLBOX_FOLDER", ".workertoolbox")).resolve()
    # Absolute, because `celery --workdir` changes the folder before it is read.
    os.environ["WORKERTOOLBOX_FOLDER"] = str(home)
    return home


def _celery(*arguments: str) -> list[str]:
    service = ["-A", "export_service", "--workdir", str(SERVICE)]
    # -P, because the current folder may have a module `celery`.
    return [sys.executable, "-P", "-m", "celery", *service, *arguments]


def _start(processes: Processes, *, logs: Path, run: str) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    worker = ["worker", "-c", "2", "-l", "INFO", "-n", f"demo-{run}@%h"]
    processes.start("worker", _celery(*worker), log=logs / f"{run}-worker.log")
    processes.start(
        "monitor", _celery("tasks", "monitor"), log=logs / f"{run}-monitor.log"
    )


def _follow(
    id: str,
    store: TaskStore,
    processes: Processes,
    progress: Progress,
    *,
    timeout_s: float,
) -> list[str]:
    """Show the progress of an export until it is done, and return its problems."""
    deadline = time.monotonic() + timeout_s
    while True:
        processes.check()
        tasks = store.workflow(id)
        progress.show(tasks)
        root = next((task for task in tasks if task.id == id), None)
        if root is None or root.status != "SUCCESS":
            problems = [f"export.project {id} has not ended"]
        else:
            problems = find_problems(tasks, planned(root.result))
        if failures := find_failures(tasks):
            return [f"{task.name} {task.id} failed" for task in failures]
        if not problems:
            return []
        if time.monotonic() > deadline:
            return [f"not done after {timeout_s:g} seconds", *problems]
        time.sleep(LOOK_EVERY_S)


def _verify(
    output: Path, folder: Path, exported_at: datetime, console: Console
) -> None:
    try:
        found = verify(output.resolve(), folder.resolve(), exported_at=exported_at)
    except BrokenArchive as error:
        raise DemoFailed(str(error)) from error
    console.print()
    console.print(f"{output.resolve()}")
    size = decimal(output.stat().st_size)
    content = decimal(sum(row.size or 0 for row in found.files))
    console.print(f"  complete: {len(found.files)} files, {content} in {size}")
    for row in found.left_out:
        console.print(f"  {row.path!r} {row.note}")
    for path in found.changed:
        console.print(f"  {path!r} has changed since")


def _print_commands(id: str, home: Path, console: Console) -> None:
    if "HATCH_ENV_ACTIVE" in os.environ:
        command = ["hatch", "run", "celery"]
    else:
        command = [sys.executable, "-m", "celery"]
    service = os.path.relpath(SERVICE)
    if service.startswith(os.pardir):
        service = str(SERVICE)
    command += ["-A", "export_service", "--workdir", service, "tasks"]
    start = shlex.join(command)
    console.print("\nTo explore further:")
    if "WORKERTOOLBOX_BROKER_URL" not in os.environ:
        console.print(f"  export WORKERTOOLBOX_FOLDER={shlex.quote(str(home))}")
    console.print(f"  {start} list")
    console.print(f"  {start} list --name export.project --json")
    console.print(f"  {start} show {id}")
