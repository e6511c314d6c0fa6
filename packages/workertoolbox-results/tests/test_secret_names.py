"""Names that are secret in every task."""

from __future__ import annotations

import pytest

from cadasta.workertoolbox.results._arguments.secret_names import (
    SECRET_WORDS,
    is_secret_name,
)


@pytest.mark.parametrize(
    "name",
    [
        "APIKey",
        "API_KEY_2",
        "Authorization",
        "ACCESSTOKEN",
        "X-Api-Key",
        "accessToken",
        "access_tokens",
        "apiKeys",
        "access_token",
        "api-key",
        "apikey",
        "aws_secret_access_key",
        "card_number",
        "clientSecret",
        "client_secret",
        "cookie",
        "creditCard",
        "credit_card",
        "cvv",
        "db_password",
        "dbpassword",
        "jwt",
        "newPassword",
        "new-password",
        "passphrase",
        "password_old",
        "password1",
        "password_confirmation",
        "passwordHash",
        "privateKey",
        "pwd",
        "refresh_token",
        "secret",
        "secret_key",
        "sessionId",
        "session_cookie",
        "smtp_pass",
        "signing_key",
        "ssh-key",
        "user.password",
    ],
)
def test_a_secret_name_is_recognized_however_it_is_written(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("words", SECRET_WORDS)
@pytest.mark.parametrize("separator", ["_", "-", " ", "."])
def test_the_separator_of_words_does_not_matter(words: str, separator: str) -> None:
    assert is_secret_name(words.replace(" ", separator))
    assert is_secret_name(words.title().replace(" ", ""))
    assert is_secret_name(words.upper().replace(" ", separator))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1",
        "author",
        "bypass",
        "old",
        "cookies_accepted",
        "keyboard",
        "keys",
        "max_tokens",
        "monkey",
        "pass_count",
        "password_length",
        "primary_key",
        "secretary",
        "sort_key",
        "tokens_used",
        "value",
        "ключ",
    ],
)
def test_a_name_that_only_contains_a_secret_word_is_not_secret(name: str) -> None:
    assert not is_secret_name(name)


def test_words_are_listed_once_in_order() -> None:
    assert list(SECRET_WORDS) == sorted(set(SECRET_WORDS))
