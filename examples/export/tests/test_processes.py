"""The processes of the demo, run for real."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from export_demo import processes
from export_demo.processes import SIGNALS, ProcessEnded, Processes
from support.polling import wait_until

#: Prints its process id and sleeps for a minute.
IDLE = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"

STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {IDLE}"

#: Ends, and leaves a process behind that prints its id.
FORKING = f"import os\nif not os.fork():\n  {IDLE}"


def start(running: Processes, code: str, log: Path) -> None:
    running.start("worker", [sys.executable, "-c", code], log=log)


def pid(log: Path) -> int:
    return int(wait_until(lambda: log.read_text().strip()))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A process without a parent may stay a zombie.
        return b"State:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return sys.platform != "linux"


@pytest.mark.parametrize("code", [IDLE, STUBBORN, FORKING])
def test_no_process_outlives_the_block(
    tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    log = tmp_path / "log"
    with pytest.raises(RuntimeError), Processes() as running:
        start(running, code, log)
        started = pid(log)
        assert is_running(started)
        raise RuntimeError

    wait_until(lambda: not is_running(started))


def test_a_process_that_ends_too_early_is_an_error_with_its_last_lines(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    with Processes() as running:
        start(running, "raise SystemExit('cannot\\nstart')", log)

        def ended() -> bool:
            try:
                running.check()
            except ProcessEnded as error:
                return str(error).endswith(f"code 1; the end of {log}:\ncannot\nstart")
            return False

        assert wait_until(ended)


def test_check_accepts_running_processes(tmp_path: Path) -> None:
    with Processes() as running:
        start(running, IDLE, tmp_path / "log")
        running.check()


def test_signal_handlers_are_restored(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Processes():
        pass

    assert [signal.getsignal(number) for number in SIGNALS] == before
