from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from readme import README, with_table
from variables_table import table

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.conf._settings.variables import (
    ARGUMENTS,
    ROUTINGS,
    VARIABLES,
)
from cadasta.workertoolbox.results._arguments.truncation import MAX_BYTES
from cadasta.workertoolbox.routing import Routing

LINES = "\n".join(
    f"{name}=https://sqs/1/{name}" for name in ("celery", "export", "platform.fifo")
)

#: What the environment says of each, and what is read, where it is not the text `some`.
TEXTS: dict[str, tuple[str, object]] = {
    "QUEUES": ("some", ["some"]),
    "COPY_FAILURE": ("raise", "raise"),
    "PREDEFINED_QUEUES": (LINES, LINES),
    "REDACT": ('{"export.*": [0]}', {"export.*": [0]}),
    "queue_type": ("classic", "classic"),
    "LOG_FORMAT": ("json", "json"),
    "SENTRY": ("false", False),
    "RESULT_DB_PORT": ("7", 7),
    "MAX_ARGUMENT_BYTES": ("7", 7),
    "CHORD_UNLOCK_MAX_RETRIES": ("7", 7),
}


def test_the_table_in_the_readme_is_that_of_the_code() -> None:
    text = README.read_text("utf-8")

    assert table() in text
    assert with_table(text, table()) == text


@pytest.mark.parametrize("name", [*VARIABLES, *ROUTINGS, *ARGUMENTS])
def test_a_row_has_all_that_is_to_be_known_of_a_variable(name: str) -> None:
    [row] = [row for row in table().splitlines() if row.startswith(f"| `{name}` |")]
    _, _, type_, default, environment, meaning, _ = row.split("|")
    variable = {**VARIABLES, **ROUTINGS, **ARGUMENTS}[name]

    assert type_.strip() and meaning.strip()
    assert (default.strip() == "") == (variable.default is None)
    assert (environment.strip() == "") == (name == "ENV_PREFIX")


@pytest.mark.parametrize("name", [*VARIABLES, *ROUTINGS])
def test_the_environment_gives_each_by_the_name_in_the_table(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text, value = TEXTS.get(name, ("some", "some"))
    variable = f"WORKERTOOLBOX_{name.upper()}"
    monkeypatch.setenv("WORKERTOOLBOX_QUEUES", "export")
    monkeypatch.setenv(variable, text)
    config = Config()
    monkeypatch.delenv(variable)
    given: dict[str, Any] = {"QUEUES": ["export"], name: value}

    assert f"| `{variable}` |" in table()
    assert config == Config(**given)
    assert config != Config(["export"])


@pytest.mark.parametrize("name", sorted(VARIABLES.keys() - {"QUEUES"}))
def test_a_default_is_what_a_configuration_has(name: str) -> None:
    assert Config(["export"])[name] == VARIABLES[name].default


def test_what_routing_takes_has_its_defaults() -> None:
    parameters = inspect.signature(Routing).parameters

    for name in ("PLATFORM_QUEUE_NAME", "QUEUE_PREFIX", "COPY_FAILURE"):
        assert VARIABLES[name].default == parameters[name].default
    assert ROUTINGS["queue_type"].default is parameters["queue_type"].default


def test_the_limit_of_arguments_is_that_of_results() -> None:
    assert (
        f"{MAX_BYTES:,} where it is not given"
        in VARIABLES["MAX_ARGUMENT_BYTES"].meaning
    )


def test_arguments_have_the_defaults_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config.embedded(["export"])

    assert config.ENV_PREFIX == ARGUMENTS["ENV_PREFIX"].default
    assert (tmp_path / str(ARGUMENTS["folder"].default)).is_dir()
