"""A service with chords whose processes fail: `celery -A support.chord_service`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery import Celery, Task, chord, group, signature
from celery.exceptions import Ignore, Reject
from celery.signals import before_task_publish, task_postrun, task_prerun

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results._backend import chords
from support.polling import wait_until

#: The variable with the folder of the journal and the flags.
FOLDER = "CHORDS_FOLDER"

#: The file in that folder with one line for each event.
JOURNAL = "journal"

#: Seconds until another process publishes the body of a chord: shorter than the default
#: to save time, and longer than it takes to publish a body.
TAKEOVER_S = 4.0


def make_service() -> Celery:
    """Return an app with the tasks below."""
    embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
    app = Celery("chords")
    configure = Config.embedded if embedded else Config
    app.config_from_object(configure(["export", "msg"]))
    _add_echo_tasks(app)
    _add_replacing_tasks(app)
    _add_failing_tasks(app)
    return app


def _add_echo_tasks(app: Celery) -> None:
    @app.task(name="export.echo", shared=False)
    def echo(value: object) -> object:
        return value

    @app.task(name="export.echo_without_result", ignore_result=True, shared=False)
    def echo_without_result(value: object) -> object:
        return value

    @app.task(name="export.add", shared=False)
    def add(number: int, by: int = 1) -> int:
        return number + by

    @app.task(name="export.echo_after_flag", shared=False)
    def echo_after_flag(value: object, key: str) -> object:
        wait_until(lambda: is_flag_set(key))
        return value

    @app.task(name="export.set_flag", shared=False)
    def set_flag_and_echo(value: object, key: str) -> object:
        set_flag(key)
        return value

    # Bodies. `publish_slowly_or_die` recognizes the last two by their names.
    for name in ("collect", "collect_after_kill", "collect_after_wait"):

        @app.task(name=f"export.{name}", shared=False)
        def collect(values: object) -> object:
            return values

    @app.task(name="export.errback", shared=False)
    def errback(id: str, key: str) -> None:
        write_journal("errback", id, key)

    @app.task(name="export.errback_with_error", shared=False)
    def errback_with_error(request: Any, error: Any, traceback: Any, key: str) -> None:
        write_journal("errback", request.id, key)


def _add_replacing_tasks(app: Celery) -> None:
    @app.task(name="export.replace", bind=True, shared=False)
    def replace(self: Task[Any, Any], by: dict[str, Any]) -> object:
        return self.replace(signature(by, app=app))

    @app.task(name="export.replace_by_group", bind=True, shared=False)
    def replace_by_group(self: Task[Any, Any], numbers: list[int]) -> object:
        echo = app.tasks["export.echo"]
        return self.replace(group(echo.s(number) for number in numbers))

    @app.task(name="export.replace_by_chord", bind=True, shared=False)
    def replace_by_chord(self: Task[Any, Any], numbers: list[int]) -> object:
        echo, collect = app.tasks["export.echo"], app.tasks["export.collect"]
        return self.replace(chord([echo.s(n) for n in numbers], collect.s()))

    @app.task(name="export.add_to_chord", bind=True, shared=False)
    def add_to_chord(self: Task[Any, Any], value: object, added: object) -> object:
        self.add_to_chord(app.tasks["export.echo"].s(added))
        return value


def _add_failing_tasks(app: Celery) -> None:
    @app.task(name="export.retry", bind=True, shared=False)
    def retry(self: Task[Any, Any], value: object) -> object:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return value

    @app.task(name="export.fail", shared=False)
    def fail(message: str) -> None:
        raise ValueError(message)

    @app.task(name="export.fail_with_values", shared=False)
    def fail_with_values(values: object) -> None:
        raise ValueError(f"refused: {values}")

    @app.task(name="export.ignore", shared=False)
    def ignore(reason: str) -> None:
        raise Ignore(reason)

    @app.task(name="export.reject", acks_late=False, shared=False)
    def reject(reason: str) -> None:
        raise Reject(reason, requeue=True)

    @app.task(name="export.retry_after_flag", bind=True, shared=False)
    def retry_after_flag(self: Task[Any, Any], key: str) -> None:
        wait_until(lambda: is_flag_set(key))
        raise self.retry(exc=OSError("full"), countdown=3600)

    @app.task(name="export.exit", shared=False)
    def exit(code: int) -> None:
        os._exit(code)

    @app.task(name="export.die", shared=False)
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task(name="export.die_once", bind=True, shared=False)
    def die_once(self: Task[Any, Any], value: object) -> object:
        if set_flag_once(f"died {self.request.id}"):
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    @app.task(name="export.die_after_flag", bind=True, shared=False)
    def die_after_flag(self: Task[Any, Any], key: str, last_key: str) -> None:
        wait_until(lambda: is_flag_set(key))
        if set_flag_once(f"died {self.request.id}"):
            os.kill(os.getpid(), signal.SIGKILL)
        wait_until(lambda: is_flag_set(last_key))

    @app.task(name="export.die_between_count_and_end", bind=True, shared=False)
    def die_between_count_and_end(self: Task[Any, Any], value: object, key: str) -> Any:
        body: Any = self.request.chord
        return _FatalValue(value, key, signature(body).id)

    for each in (die_once, die_after_flag):
        each.acks_late = each.reject_on_worker_lost = True

    @app.task(name="export.hang_once", bind=True, acks_late=True, shared=False)
    def hang_once(self: Task[Any, Any], value: object) -> object:
        if set_flag_once(f"hangs {self.request.id}"):
            signal.pause()
        return value

    @app.task(name="export.echo_acks_late", acks_late=True, shared=False)
    def echo_acks_late(value: object) -> object:
        return value

    @app.task(name="export.echo_reject_on_worker_lost", acks_late=True, shared=False)
    def echo_reject_on_worker_lost(value: object) -> object:
        return value

    echo_reject_on_worker_lost.reject_on_worker_lost = True

    @app.task(name="export.publish_again", bind=True, shared=False)
    def publish_again(self: Task[Any, Any], value: object) -> object:
        if set_flag_once(f"sends {self.request.id}"):
            # As if the broker delivered the message twice.
            self.signature_from_request(self.request, retries=0).apply_async()
        return value


class _FatalValue:
    """A result that kills its process when the state of its task is encoded.

    It is encoded for the first time when the task of a header is counted. Before the
    process dies, it sets a flag, and waits until another one publishes the body.
    """

    def __init__(self, value: object, key: str, body_id: str | None) -> None:
        self._value = value
        self._key = key
        self._body_id = body_id
        self._is_counted = False

    def __json__(self) -> object:
        if self._is_counted:
            set_flag(self._key)
            wait_until(lambda: is_flag_set(f"waits {self._body_id}"))
            os.kill(os.getpid(), signal.SIGKILL)
        self._is_counted = True
        return self._value


def write_journal(*words: object) -> None:
    """Add a line to the journal."""
    # One call of `write` with O_APPEND, so that processes do not mix their lines.
    descriptor = os.open(folder() / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(descriptor)


def folder() -> Path:
    """Return the folder of the journal and the flags."""
    return Path(os.environ[FOLDER])


def set_flag_once(key: str) -> bool:
    """Set a flag, and return whether it was not set before."""
    try:
        (folder() / key).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def set_flag(key: str) -> None:
    """Set a flag, which all processes see."""
    (folder() / key).touch()


def is_flag_set(key: str) -> bool:
    """Return whether any process has set a flag."""
    return (folder() / key).exists()


def record_start(task_id: str, task: Task[Any, Any], **_: Any) -> None:
    write_journal("begin", task_id, os.getpid())


def record_end(task_id: str, task: Task[Any, Any], **_: Any) -> None:
    write_journal("end", task_id, os.getpid())


def publish_slowly_or_die(sender: str, headers: dict[str, Any], **_: Any) -> None:
    """Kill the process, or wait for a flag, before a body is first published."""
    if sender == "export.collect_after_kill" and set_flag_once(
        f"killed {headers['id']}"
    ):
        os.kill(os.getpid(), signal.SIGKILL)
    if sender == "export.collect_after_wait" and set_flag_once(
        f"waits {headers['id']}"
    ):
        wait_until(lambda: is_flag_set(f"goes on {headers['id']}"))


# The test process sets the variable only after it has imported this module.
if FOLDER in os.environ:
    task_prerun.connect(record_start)
    task_postrun.connect(record_end)
    before_task_publish.connect(publish_slowly_or_die)
    chords.TAKEOVER_S = TAKEOVER_S
    app = make_service()
