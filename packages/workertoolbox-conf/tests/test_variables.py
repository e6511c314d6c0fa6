from __future__ import annotations

from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest
from readme import README, with_table
from variables_table import ROWS, table

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.conf._settings.variables import (
    ENV_PREFIX,
    FOLDER,
    QUEUE_TYPE,
    VARIABLES,
    Variable,
)
from cadasta.workertoolbox.results._arguments.truncation import DEFAULT_MAX_BYTES
from cadasta.workertoolbox.results._history.ended_tasks import MAX_RESULT_BYTES
from cadasta.workertoolbox.routing import Settings
from cadasta.workertoolbox.routing._environment import reading
from cadasta.workertoolbox.routing._environment.parsing import PARSERS
from cadasta.workertoolbox.routing._environment.variables import (
    OTHER_VARIABLES,
    ROUTING_TYPES,
)
from cadasta.workertoolbox.routing._routing import DEFAULTS

LINES = "\n".join(
    f"{name}=https://sqs/1/{name}" for name in ("celery", "export", "platform.fifo")
)

#: The text in the environment and the value read from it; the others use `some`.
TEXTS: dict[str, tuple[str, object]] = {
    "QUEUES": ("some", ["some"]),
    "COPY_FAILURE": ("raise", "raise"),
    "UNKNOWN_PREFIX": ("refuse", "refuse"),
    "PREDEFINED_QUEUES": (LINES, LINES),
    "REDACT": ('{"export.*": [0]}', {"export.*": [0]}),
    "REDACT_RESULTS": ('{"export.*": ["card"]}', {"export.*": ["card"]}),
    "ERROR_GROUP": ("export.errors.group", "export.errors.group"),
    "queue_type": ("classic", "classic"),
    "LOG_FORMAT": ("json", "json"),
    "SENTRY": ("false", False),
    "RESULT_DB_PORT": ("7", 7),
    "RESULT_DB_REQUIRED": ("true", True),
    "MAX_ARGUMENT_BYTES": ("7", 7),
    "MAX_HISTORY_RESULT_BYTES": ("7", 7),
    "ARCHIVE_AFTER": ("5s", "5s"),
    "LOST_AFTER": ("2h", "2h"),
    "RETENTION": ('{"default": "9d", "a.b": null}', {"default": "9d", "a.b": None}),
    "CHORD_UNLOCK_MAX_RETRIES": ("7", 7),
}


def name(variable: Variable) -> str:
    return variable.name


def test_the_table_in_the_readme_is_made_from_the_code() -> None:
    text = README.read_text("utf-8")

    assert table() in text
    assert with_table(text, table()) == text


@pytest.mark.parametrize("variable", ROWS, ids=name)
def test_a_row_says_everything_about_a_variable(variable: Variable) -> None:
    start = f"| `{variable.name}` |"
    [row] = [row for row in table().splitlines() if row.startswith(start)]
    _, _, type_, default, environment, meaning, _ = row.split("|")

    assert type_.strip() and meaning.strip()
    assert (default.strip() == "") == (variable.default is None)
    assert (environment.strip() == "") == (variable is ENV_PREFIX)


@pytest.mark.parametrize("variable", ROWS, ids=name)
def test_the_environment_can_give_every_type(variable: Variable) -> None:
    assert variable.type in PARSERS


@pytest.mark.parametrize("variable", [*VARIABLES.values(), QUEUE_TYPE], ids=name)
def test_the_environment_gives_a_variable_by_the_name_in_the_table(
    monkeypatch: pytest.MonkeyPatch, variable: Variable
) -> None:
    text, value = TEXTS.get(variable.name, ("some", "some"))
    in_environment = f"WORKERTOOLBOX_{variable.name.upper()}"
    monkeypatch.setenv("WORKERTOOLBOX_QUEUES", "export")
    monkeypatch.setenv(in_environment, text)
    config = Config()
    monkeypatch.delenv(in_environment)
    given: dict[str, Any] = {"QUEUES": ["export"], variable.name: value}

    assert f"| `{in_environment}` |" in table()
    assert config == Config(**given)
    assert config != Config(["export"])


@pytest.mark.parametrize("variable", VARIABLES.values(), ids=name)
def test_a_default_is_valid_and_is_what_a_configuration_has(variable: Variable) -> None:
    assert variable.check is None or variable.check(variable.default) is None
    if variable.name != "QUEUES":
        assert Config(["export"])[variable.name] == variable.default


def test_each_variable_is_a_typed_attribute_of_a_configuration() -> None:
    typed = {name for name in Config.__annotations__ if name.isupper()}
    routings = {name for name in Settings.__annotations__ if name.isupper()}

    assert typed | routings == {*VARIABLES, ENV_PREFIX.name}
    assert not typed & routings


def test_the_variables_of_routing_have_its_defaults() -> None:
    for name, default in DEFAULTS.items():
        variable = QUEUE_TYPE if name == QUEUE_TYPE.name else VARIABLES[name]

        assert variable.default == default
        assert variable.type == ROUTING_TYPES[name]


def test_routing_knows_the_names_of_all_variables() -> None:
    assert {*VARIABLES} == {*OTHER_VARIABLES, *DEFAULTS} - {QUEUE_TYPE.name}
    assert ENV_PREFIX.default == reading.ENV_PREFIX


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("MAX_ARGUMENT_BYTES", DEFAULT_MAX_BYTES),
        ("MAX_HISTORY_RESULT_BYTES", MAX_RESULT_BYTES),
    ],
)
def test_the_limits_are_those_of_results(name: str, default: int) -> None:
    assert f"{default:,} by default" in VARIABLES[name].meaning


def test_arguments_have_the_defaults_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config.embedded(["export"])

    assert config.ENV_PREFIX == ENV_PREFIX.default
    assert (tmp_path / str(FOLDER.default)).is_dir()


@pytest.mark.parametrize("method", [Config.__init__, Config.copy, Config.embedded])
def test_type_checkers_and_editors_know_each_variable(
    method: Any, tmp_path: Path
) -> None:
    parameters = signature(method).parameters
    keywords = {
        name
        for name, parameter in parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }

    assert keywords - {ENV_PREFIX.name} == {*VARIABLES, QUEUE_TYPE.name}
    # The type checker would report a comment that is not needed as an error.
    with pytest.raises(ValueError):
        Config(["export"], MAX_ARGUMENT_BYTES="5")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Config(["export"]).copy(COPY_FAILURE="rais")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Config.embedded([], tmp_path, queue_type="quorums")  # type: ignore[arg-type]


def test_type_checkers_accept_settings_of_celery_and_of_the_service() -> None:
    config = Config(["export"], SENTRY=False, broker_url="memory://", shop_country="at")

    assert config.copy(LOG_FORMAT="json").shop_country == "at"
