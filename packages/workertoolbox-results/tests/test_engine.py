"""URLs of databases."""

from __future__ import annotations

import pytest

from cadasta.workertoolbox.results import InvalidURL, upgrade


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://u:secret@localhost/0",
        "postgresql+psycopg2:/me:secret@h/x",
        "mysql://u:secret@localhost/0",
        "db+nonsense",
        "disabled://",
        None,
    ],
)
def test_an_unsupported_database_is_refused_without_showing_the_password(
    url: str,
) -> None:
    with pytest.raises(InvalidURL, match="result_backend") as caught:
        upgrade(url)

    assert "secret" not in str(caught.value)
