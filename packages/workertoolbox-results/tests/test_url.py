"""Templates of URLs and texts, and the errors of broken ones."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from cadasta.workertoolbox.results import (
    RESULT_BACKEND,
    InvalidTemplate,
    render_text,
    render_url,
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
