"""Broker URLs with characters that have to be percent-encoded."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from kombu.utils.url import parse_url

from cadasta.workertoolbox.routing import InvalidSetting, Routing

#: Passwords with characters that end a part of a URL. Each contains `geheim`.
PASSWORDS = [
    "a/geheim",
    "a#geheim",
    "a?geheim",
    "a[geheim",
    "a]geheim",
    "a;geheim",
    "12/geheim",
    "12?geheim",
    "12#geheim",
    "a@b/geheim",
    "/geheim",
    "geheim/",
    "geheim/a:1",
    "%/geheim",
]

#: URLs that kombu reads as they are meant.
READABLE = [
    "amqp://",
    "amqp://me:a@geheim@host:5672/v",
    "amqp://me:a:geheim@host//",
    "amqp://me:a geheim@host",
    "amqp://me@host:/v",
    "amqp://[::1]:5672//",
    "amqp://me:geheim@[::1]/v",
    "amqp://one:5672//;amqp://me:geheim@two//",
    "redis://:geheim@host:6379/0",
    "redis://host:6379/0?client_name=a@b",
    "rediss://host/0?ssl_ca_certs=/etc/ca#1.pem",
    "sentinel://one:26379/0;sentinel://two:26379/0",
    "sqs://",
    "sqs://key:a%2Fgeheim@",
    "sqla+sqlite:////tmp/a@b.db",
    "sqla+postgresql+psycopg2://me:a/geheim@host/queues",
    "filesystem://localhost/a@b",
    "memory://a/b@c",
    "azureservicebus://policy:a/geheim=@namespace",
]

#: What follows the scheme, with a place for a password.
FORMS = [
    ("amqp", "me:{}@host:5672/v"),
    ("amqps", "me:{}@host//"),
    ("redis", ":{}@host:6379/0"),
    ("rediss", "me:{}@host/0"),
    ("sentinel", ":{}@host:26379/0"),
    ("sqs", "key:{}@"),
    ("sqs", "key:{}@localhost:4566/"),
]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(("scheme", "form"), FORMS)
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(
    scheme: str, form: str, password: str
) -> None:
    url = f"{scheme}://{form.format(password)}"

    with pytest.raises(InvalidSetting, match="percent-encode") as raised:
        Routing(["export"], broker_url=url)

    assert f"broker_url='{scheme}://********'" in str(raised.value)
    assert "heim" not in str(raised.value)
    # The advice is right: the encoded password is read as it was meant.
    encoded = f"{scheme}://{form.format(quote(password, safe=''))}"
    config = Routing(["export"], broker_url=encoded)
    assert parse_url(config["broker_url"])["password"] == password


@pytest.mark.parametrize("url", ["amqp://me:a/geheim@h", "sqla+mysql://me:a@geheim@h"])
@pytest.mark.parametrize("name", ["broker_url", "broker_read_url", "broker_write_url"])
def test_each_setting_and_each_variable_of_celerys_is_checked(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    for given in (url, ["amqp://host", url], f"amqp://host;{url}"):
        settings: dict[str, Any] = {name: given}
        with pytest.raises(InvalidSetting, match=f"^{name}="):
            Routing(["export"], **settings)
    monkeypatch.setenv(f"CELERY_{name.upper()}", url)

    with pytest.raises(InvalidSetting, match=f"^CELERY_{name.upper()}="):
        Routing(["export"])


@pytest.mark.parametrize("url", READABLE)
def test_a_url_that_is_read_as_it_is_meant_is_accepted(url: str) -> None:
    assert Routing(["export"], broker_url=url)["broker_url"] == url


@pytest.mark.parametrize("url", ["amqp://host:port//", "redis://me:geheim/0"])
def test_a_port_that_is_not_a_number_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"://\*\*\*\*\*\*\*\*'"):
        Routing(["export"], broker_url=url)
