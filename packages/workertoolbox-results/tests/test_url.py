"""Templates of URLs and texts, and the errors of broken ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from cadasta.workertoolbox.results import (
    RESULT_BACKEND,
    InvalidTemplate,
    InvalidURL,
    database_url,
    render_text,
    render_url,
    tasks_database,
)

VARIABLES = {
    "RESULT_DB_USER": "worker",
    "RESULT_DB_PASS": "p@ss:w/o?r%d {1}",
    "RESULT_DB_HOST": "db.example",
    "RESULT_DB_PORT": 5432,
    "RESULT_DB_NAME": "workers",
}


def test_a_password_may_contain_any_characters() -> None:
    rendered = render_url(RESULT_BACKEND, VARIABLES)
    url = make_url(rendered.removeprefix("workertoolbox+"))

    assert url.password == VARIABLES["RESULT_DB_PASS"]
    assert (url.username, url.host, url.port) == ("worker", "db.example", 5432)
    assert url.database == "workers"


def test_a_url_without_variables_is_unchanged() -> None:
    assert render_url("redis://localhost/0", VARIABLES) == "redis://localhost/0"


def test_a_variable_may_be_named_without_the_leading_zero() -> None:
    assert render_url("db+sqlite:///{RESULT_DB_NAME}", VARIABLES).endswith("/workers")


def test_an_ipv6_address_is_not_escaped() -> None:
    rendered = render_url(RESULT_BACKEND, {**VARIABLES, "RESULT_DB_HOST": "[::1]"})

    assert make_url(rendered.removeprefix("workertoolbox+")).host == "::1"


def test_an_error_masks_a_literal_password() -> None:
    with pytest.raises(InvalidTemplate) as caught:
        render_url("postgresql://me:geheim@{0.NOPE}/x", VARIABLES)

    assert "geheim" not in str(caught.value)
    assert "postgresql://me:********@{0.NOPE}/x" in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "postgresql://me:ge{heim@h/x",
        "postgresql://me:geheim{0.NOPE}@h/x",
        "postgresql://{0.RESULT_DB_USER}:geheim@{0.NOPE}/x",
    ],
)
def test_an_error_masks_a_literal_password_with_braces(template: str) -> None:
    with pytest.raises(InvalidTemplate) as caught:
        render_url(template, VARIABLES)

    assert "heim" not in str(caught.value)


def test_doubled_braces_are_literal_braces() -> None:
    assert render_url("db+sqlite:///a{{b}}", VARIABLES) == "db+sqlite:///a{b}"


@pytest.mark.parametrize(
    "template",
    [
        "postgresql://{0.NOPE}@localhost/x",
        "postgresql://{0.RESULT_DB_USER@localhost/x",
        "postgresql://RESULT_DB_USER}@localhost/x",
        "postgresql://{}@localhost/x",
        "postgresql://{0}@localhost/x",
        "postgresql://{0.RESULT_DB_USER.__class__}@localhost/x",
        "postgresql://{0.RESULT_DB_USER!r}@localhost/x",
        "postgresql://{0.RESULT_DB_USER:>20}@localhost/x",
    ],
)
def test_a_broken_template_is_shown_in_the_error(template: str) -> None:
    with pytest.raises(InvalidTemplate) as caught:
        render_url(template, VARIABLES)

    assert template in str(caught.value)
    assert "{0.RESULT_DB_HOST}" in str(caught.value) or "brace" in str(caught.value)


def test_values_in_a_text_that_is_not_a_url_are_not_escaped() -> None:
    text = render_text(
        "{0.RESULT_DB_PASS} {RESULT_DB_HOST} {{}}", VARIABLES, setting="x"
    )

    assert text == "p@ss:w/o?r%d {1} db.example {}"


def test_an_error_names_the_setting_of_the_template() -> None:
    with pytest.raises(InvalidTemplate, match="^broker_url template 'amqp://{0.NOPE}'"):
        render_url("amqp://{0.NOPE}", VARIABLES, setting="broker_url")


@pytest.mark.parametrize("prefix", ["workertoolbox+", "db+"])
@pytest.mark.parametrize(
    "login",
    ["me:a@geheim", "me:a@geheim/b", "me:@geheim", "m@geheim:a", "me:a@b@geheim"],
)
def test_a_login_with_an_at_sign_is_refused_and_not_shown(
    prefix: str, login: str
) -> None:
    template = f"{prefix}postgresql+psycopg2://{login}@db:5432/workers"
    for read in (lambda: render_url(template, {}), lambda: database_url(template)):
        with pytest.raises(InvalidURL, match="percent-encode") as raised:
            read()

        assert "heim" not in str(raised.value)
        assert "postgresql+psycopg2://********" in str(raised.value)
    # The advice is right: the encoded login is read as it was meant.
    user, _, password = login.partition(":")
    encoded = f"{quote(user, safe='')}:{quote(password, safe='')}"
    url = database_url(f"{prefix}postgresql+psycopg2://{encoded}@db:5432/workers")
    assert (url.username, url.password, url.host) == (user, password, "db")


@pytest.mark.parametrize(
    "url",
    [
        "workertoolbox+sqlite:////tmp/a@b/results@1.sqlite3",
        "workertoolbox+postgresql+psycopg2://me:a/geheim:1@db/workers",
        "workertoolbox+postgresql+psycopg2:///workers?host=a@b",
        "workertoolbox+postgresql+psycopg2://me@db/workers",
        "workertoolbox+postgresql+psycopg2://db/workers",
    ],
)
def test_a_url_that_is_read_as_it_is_meant_is_accepted(url: str) -> None:
    assert render_url(url, {}) == url
    database_url(url)


@pytest.mark.parametrize("rest", ["me:geheim", "me:geheim/workers", "me:a@db:geheim/w"])
def test_a_malformed_url_is_not_shown(rest: str) -> None:
    with pytest.raises(InvalidURL, match="malformed") as raised:
        database_url(f"workertoolbox+postgresql+psycopg2://{rest}")

    assert "heim" not in str(raised.value)


def test_the_environment_names_the_database_of_an_app_whose_results_are_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracked = SimpleNamespace(result_backend="redis://")
    own = SimpleNamespace(result_backend="workertoolbox+sqlite:///own")
    with pytest.raises(InvalidURL, match="`track`.*set WORKERTOOLBOX_RESULT_BACKEND"):
        database_url(tasks_database(tracked))
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_BACKEND", "workertoolbox+sqlite:///tasks")
    named = tasks_database(tracked), tasks_database(own)
    file = tmp_path / "secret"
    file.write_text("workertoolbox+sqlite:///secret\n", "utf-8")
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_BACKEND_FILE", str(file))

    assert named == ("workertoolbox+sqlite:///tasks", "workertoolbox+sqlite:///own")
    assert tasks_database(tracked) == "workertoolbox+sqlite:///secret"
    file.unlink()
    with pytest.raises(InvalidURL, match="cannot be read: FileNotFoundError"):
        tasks_database(tracked)
