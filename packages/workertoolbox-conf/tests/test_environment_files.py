from __future__ import annotations

from pathlib import Path
from traceback import format_exception

import pytest

from cadasta.workertoolbox.conf import Config, InvalidVariable

PASSWORD = "WORKERTOOLBOX_RESULT_DB_PASS"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_a_file_without_its_line_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    (tmp_path / "password").write_bytes(f" ge@heim\n {end}".encode())
    monkeypatch.setenv(f"{PASSWORD}_FILE", str(tmp_path / "password"))

    assert Config(["export"]).RESULT_DB_PASS == " ge@heim\n "


@pytest.mark.parametrize(
    ("name", "content", "value"),
    [
        ("broker_url", "amqp://me:geheim@mq//\n", "amqp://me:geheim@mq//"),
        ("broker_transport_options", '{"region": "x"}\n', "x"),
        ("security_key_password", "geheim\n", b"geheim"),
        ("task_time_limit", "30s\n", 30.0),
    ],
)
def test_any_setting_in_a_file_is_parsed_by_its_type(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str,
    value: object,
) -> None:
    (tmp_path / "file").write_text(content)
    monkeypatch.setenv(f"WORKERTOOLBOX_{name.upper()}_FILE", str(tmp_path / "file"))
    read = Config(["export"])[name]

    assert (read["region"] if isinstance(read, dict) else read) == value


def test_a_keyword_wins_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("file")
    monkeypatch.setenv(f"{PASSWORD}_FILE", str(tmp_path / "password"))

    assert Config(["export"], RESULT_DB_PASS="keyword").RESULT_DB_PASS == "keyword"


def test_a_secret_in_a_variable_and_in_a_file_is_an_error_that_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("geheim")
    monkeypatch.setenv(PASSWORD, "geheim")
    monkeypatch.setenv(f"{PASSWORD}_FILE", str(tmp_path / "password"))
    with pytest.raises(InvalidVariable, match=f"{PASSWORD} and {PASSWORD}_FILE") as e:
        Config(["export"])

    assert "unset one of them" in str(e.value)
    assert "geheim" not in str(e.value)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("missing", "No such file"),
        ("", "Is a directory"),
        ("binary", "not UTF-8 text"),
    ],
)
def test_an_unreadable_file_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, reason: str
) -> None:
    (tmp_path / "binary").write_bytes(b"geheim\xff")
    path = str(tmp_path / file)
    monkeypatch.setenv(f"{PASSWORD}_FILE", path)
    with pytest.raises(InvalidVariable) as caught:
        Config(["export"])

    assert f"{PASSWORD}_FILE={path!r}" in str(caught.value)
    assert reason in str(caught.value)
    assert (
        caught.value.__cause__ is None
    )  # The cause would show the content of the file.


@pytest.mark.parametrize(
    ("name", "expected"),
    [("RESULT_DB_PORT", "an integer"), ("BROKER_TRANSPORT_OPTIONS", "a JSON object")],
)
def test_the_error_about_a_malformed_file_does_not_show_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    (tmp_path / "file").write_text("geheim")
    monkeypatch.setenv(f"WORKERTOOLBOX_{name}_FILE", str(tmp_path / "file"))
    with pytest.raises(InvalidVariable, match=f"is not {expected}") as caught:
        Config(["export"])

    assert f"WORKERTOOLBOX_{name}_FILE" in str(caught.value)
    assert repr(str(tmp_path / "file")) in str(caught.value)
    assert "geheim" not in "".join(format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("RESULT_DB_PASSWORD_FILE", "RESULT_DB_PASS_FILE"),
        ("CELERY_MAX_CACHED_RESULTS", "RESULT_CACHE_MAX"),
    ],
)
def test_an_unknown_variable_is_an_error_that_suggests_the_known_one(
    monkeypatch: pytest.MonkeyPatch, name: str, known: str
) -> None:
    monkeypatch.setenv(f"WORKERTOOLBOX_{name}", "/run/secrets/x")
    with pytest.raises(InvalidVariable, match=f"did you mean WORKERTOOLBOX_{known}\\?"):
        Config(["export"])
