"""What errors advise works: each test reads the advice in an error and follows it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import Config, setup_app
from cadasta.workertoolbox.results.backend import Backend
from cadasta.workertoolbox.routing import Routing

#: The rest of a URL that an error shortens to `…`.
REST = "worker:geheim@127.0.0.1:1/workers"


def app_with(config: Any) -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(config)
    return app


def advised(error: BaseException, pattern: str) -> str:
    """Return the part of an error's text that a group of the pattern finds."""
    found = re.search(pattern, str(error))
    assert found is not None, str(error)
    return found[1]


@pytest.mark.parametrize(
    "url",
    [
        # SQLAlchemy takes the first for psycopg 3, which is not installed.
        f"workertoolbox+postgresql://{REST}",
        f"workertoolbox+postgresql+no_driver://{REST}",
        f"workertoolbox+mysql://{REST}",
        f"workertoolbox+postgres://{REST}",
        "workertoolbox+postgresql+psycopg2://me:geheim",
    ],
)
def test_the_advised_url_opens_the_result_backend(url: str) -> None:
    with pytest.raises(ValueError) as raised:
        _ = app_with(Config(["export"], result_backend=url)).backend
    better = advised(raised.value, r"(workertoolbox\+postgresql\S+)")
    better = better.replace("…", REST)
    better = better.replace("USER:PASSWORD@HOST", "worker:geheim@127.0.0.1").rstrip(",")
    app = app_with(Config(["export"], result_backend=better))

    assert isinstance(app.backend, Backend)
    assert app.backend.database.dialect.driver == "psycopg2"


def test_the_error_about_a_driver_names_the_variable_of_an_app_with_track() -> None:
    url = f"workertoolbox+postgresql+no_driver://{REST}"
    with pytest.raises(ValueError, match="track` in the variable WORKERTOOLBOX_RESULT"):
        _ = app_with(Config(["export"], result_backend=url)).backend


def test_the_advised_encoding_is_read_as_it_was_meant() -> None:
    with pytest.raises(ValueError) as raised:
        Config(["export"], broker_url="amqp://me:p@ss/word@mq//")
    encoded = advised(raised.value, r"which is '(\S+)'")
    config = Config(["export"], broker_url=f"amqp://me:{encoded}@mq//")

    assert app_with(config).connection_for_write().password == "p@ss/word"


@pytest.mark.parametrize("configure", [Config, Routing])
def test_the_advised_ways_to_name_queues_work(
    monkeypatch: pytest.MonkeyPatch, configure: Any
) -> None:
    with pytest.raises(ValueError) as raised:
        configure()
    call = advised(raised.value, r"write \w+\(queues=(\[.+?\])\)")
    variable, text = advised(raised.value, r"set (\w+=\S+)").split("=")
    monkeypatch.setenv(variable, text)

    assert repr(list(configure().QUEUES)).replace("'", '"') == call
    assert configure(["export", "msg"]) == configure()


def test_the_advised_queue_gets_the_task() -> None:
    app = app_with(Config(["export"], broker_url="memory://", result_backend="rpc://"))
    with pytest.raises(LookupError) as raised:
        app.send_task("export.report", queue="exprot")
    queue = advised(raised.value, r"did you mean '(\w+)'")

    app.send_task("export.report", queue=queue)
    app.close()


def test_the_advised_configuration_sets_an_app_up() -> None:
    app = Celery("export", set_as_current=False)
    with pytest.raises(LookupError) as raised:
        setup_app(app)
    assert "app.config_from_object(Config(queues=[…]))" in str(raised.value)
    app = app_with(
        Config(queues=["export"], broker_url="memory://", result_backend="rpc://")
    )

    assert setup_app(app) == []
    app.close()


@pytest.mark.parametrize(
    ("wrong", "pattern"),
    [
        ({"task_time_limt": 60}, "did you mean '(task_time_limit)'"),
        ({"CELERYD_CONCURRENCY": 1}, "write '(worker_concurrency)'"),
        ({"RESULT_DB_PASSWORD": "x"}, "did you mean '(RESULT_DB_PASS)'"),
        ({"LOG_FORMAT": "xml"}, "write '(json)'"),
        ({"queue_type": "quorums"}, "write '(classic)'"),
    ],
)
def test_the_advised_name_or_value_is_known(
    wrong: dict[str, Any], pattern: str
) -> None:
    with pytest.raises(ValueError) as raised:
        Config(["export"], **wrong)
    word = advised(raised.value, pattern)
    [(name, value)] = wrong.items()
    is_name = "did you mean" in pattern or word.startswith("worker_")
    right: dict[str, Any] = {word: value} if is_name else {name: word}

    Config(["export"], **right)
