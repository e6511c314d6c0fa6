from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import create_engine, text

from cadasta.workertoolbox.conf import Config, InvalidFolder, InvalidValue
from cadasta.workertoolbox.results import TaskStore, upgrade
from cadasta.workertoolbox.routing import Routing

#: Names that break an unescaped URL, template or format.
NAMES = ["a%20b", "a b", "a?b", "a#b", "{0.x}", "a:b@c", "ä", "a+b&c;d"]


def test_broker_and_database_are_in_one_folder(tmp_path: Path) -> None:
    config = Config.embedded(["export"], tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"

    assert folder.is_dir()
    assert config.broker_url == "filesystem://localhost/"
    assert config.broker_transport_options == {
        **Routing(["export"]).broker_transport_options,
        "data_folder_in": f"{folder}/broker/queues",
        "data_folder_out": f"{folder}/broker/queues",
        "control_folder": f"{folder}/broker/bindings",
        "polling_interval": 0.1,
    }
    assert config.result_backend == f"workertoolbox+sqlite:///{folder}/results.sqlite3"


def test_the_default_folder_is_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert Config.embedded(["export"]) == Config.embedded(
        ["export"], tmp_path / ".workertoolbox"
    )


def test_a_folder_in_the_environment_wins_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_FOLDER", str(tmp_path / "environment"))
    given = Config.embedded(["export"], folder=str(tmp_path / "given"))

    assert "/environment/" in Config.embedded(["export"]).result_backend
    assert "/given/" in given.result_backend


@pytest.mark.parametrize("name", NAMES)
def test_sqlite_opens_the_database_in_a_folder_of_any_name(
    tmp_path: Path, name: str
) -> None:
    config = Config.embedded(["export"], tmp_path / name)
    engine = create_engine(config.result_backend.removeprefix("workertoolbox+"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (id INTEGER)"))
    engine.dispose()

    assert tmp_path.joinpath(name, "results.sqlite3").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_written_with_its_copy_in_a_folder_of_any_name(
    tmp_path: Path, name: str
) -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config.embedded(["export"], tmp_path / name))
    app.send_task("export.report", ignore_result=True)
    app.close()
    written = tmp_path.joinpath(name, "broker", "queues").glob("*.msg")

    assert sorted(path.name.partition(".")[2] for path in written) == [
        "export.msg",
        "platform.fifo.msg",
    ]


def test_the_folder_wins_over_the_environment_and_a_keyword_wins_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_QUEUES", "export")
    monkeypatch.setenv("WORKERTOOLBOX_BROKER_URL", "sqs://")
    monkeypatch.setenv("WORKERTOOLBOX_TASK_ACKS_LATE", "true")
    config = Config.embedded(
        folder=tmp_path,
        result_backend="db+sqlite://",
        broker_transport_options={"polling_interval": 2},
    )

    assert config.QUEUES == ("export",)
    assert config.broker_url == "filesystem://localhost/"
    assert config.task_acks_late is True
    assert config.result_backend == "db+sqlite://"
    assert config.broker_transport_options["polling_interval"] == 2
    assert "control_folder" in config.broker_transport_options


def test_transport_options_of_a_wrong_type_are_an_error(tmp_path: Path) -> None:
    assert Config.embedded(
        ["export"], tmp_path, broker_transport_options=None
    ) == Config.embedded(["export"], tmp_path)
    with pytest.raises(InvalidValue, match="broker_transport_options has type str"):
        Config.embedded(["export"], tmp_path, broker_transport_options="x")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def use(config: Config) -> None:
    """Publish a task, read its copy, and write to the database."""
    app = Celery("export", set_as_current=False)
    app.config_from_object(config)
    app.send_task("export.report", ignore_result=True)
    upgrade(app.conf.result_backend)
    with TaskStore.for_app(app) as store, app.connection_for_read() as connection:
        monitor: Any = app.amqp.queues["platform.fifo"](connection.default_channel)
        assert monitor.get()
        # While the message is held and the database is open, all files exist.
        assert store.find("1") is None
        assert readable_by_others(folder_of(config)) == []
    app.close()
    assert readable_by_others(folder_of(config)) == []


def folder_of(config: Config) -> Path:
    return Path(config.broker_transport_options["control_folder"]).parents[1]


def readable_by_others(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.stat().st_mode & 0o077]


@pytest.mark.usefixtures("umask")
def test_only_the_owner_may_read_what_is_in_the_folder(tmp_path: Path) -> None:
    config = Config.embedded(["export"], tmp_path / "new" / "folder")

    use(config)
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new").stat().st_mode & 0o700 == 0o700


@pytest.mark.usefixtures("umask")
def test_the_permissions_of_a_folder_that_exists_are_kept(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    use(Config.embedded(["export"], tmp_path))
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_files_of_an_older_release_are_restricted(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    tmp_path.joinpath("broker", "queues").mkdir(parents=True)
    for name in ("results.sqlite3", "results.sqlite3-wal", "results.sqlite3-shm"):
        tmp_path.joinpath(name).touch(0o644)

    use(Config.embedded(["export"], tmp_path))


@pytest.mark.parametrize("folder", ["file", "file/below", "\0"])
def test_a_folder_that_cannot_be_created_is_one_clear_error(
    tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").touch()
    path = f"{tmp_path}/{folder}"
    with pytest.raises(InvalidFolder) as caught:
        Config.embedded(["export"], path)

    assert repr(path) in str(caught.value)
    assert "folder=" in str(caught.value)
