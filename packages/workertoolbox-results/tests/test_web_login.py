"""Who may see the pages: passwords, sessions, tokens and proxies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results.web import (
    AppLogin,
    PasswordLogin,
    ProxyLogin,
    create_app,
)
from cadasta.workertoolbox.results.web.access import attempts, passwords, sessions
from cadasta.workertoolbox.results.web.access.attempts import Attempts
from cadasta.workertoolbox.results.web.access.logins import InvalidLogin, Login
from cadasta.workertoolbox.results.web.access.passwords import InvalidPassword
from cadasta.workertoolbox.results.web.access.sessions import Session, Sessions
from cadasta.workertoolbox.results.web.operating.forms import own_path
from cadasta.workertoolbox.results.web.serving.proxies import TrustedProxies

PASSWORD = "correct horse battery"
ORIGIN = {"origin": "http://testserver"}


@pytest.fixture(autouse=True, scope="module")
def cheap_hashes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(passwords._COST, "n", 2)
        yield


@pytest.fixture(scope="module")
def login() -> PasswordLogin:
    """A login whose hashes are computed once; each test has its own attempts."""
    return PasswordLogin(PASSWORD)


@pytest.fixture
def client(store: TaskStore, login: PasswordLogin) -> Iterator[TestClient]:
    login.attempts = Attempts()
    with open_client(store, login) as client:
        yield client


@contextmanager
def open_client(
    store: TaskStore, login: Login | None, **options: str
) -> Iterator[TestClient]:
    app = create_app(store, login=login, **options)  # type: ignore[arg-type]
    with TestClient(app, follow_redirects=False) as client:
        yield client


def log_in(client: TestClient, *, next: str = "/workers", **fields: str) -> int:
    form = {"password": PASSWORD, "next": next, **fields}
    return client.post("/login", data=form, headers=ORIGIN).status_code


def form_token(text: str) -> str:
    [token] = re.findall(r'name="form_token" value="([^"]+)"', text)
    return str(token)


def test_an_unknown_user_is_led_to_the_login_and_back(client: TestClient) -> None:
    asked = client.get("/tasks?query=name:a%26b&since=1h")
    page = client.get(asked.headers["location"])
    [next] = re.findall('name="next" value="([^"]+)"', page.text)
    form = {"password": PASSWORD, "next": next.replace("&amp;", "&")}
    done = client.post("/login", data=form, headers=ORIGIN)

    assert asked.status_code == done.status_code == 303
    assert page.status_code == 200 and "<nav" not in page.text
    assert done.headers["location"] == "/tasks?query=name:a%26b&since=1h"
    assert client.get("/tasks").status_code == 200


def test_a_wrong_password_is_refused(client: TestClient) -> None:
    assert log_in(client, password="correct horse batterie") == 401
    assert client.get("/").status_code == 303


def test_the_cookie_of_a_session_cannot_be_read_by_scripts_and_ends(
    client: TestClient,
) -> None:
    form = {"password": PASSWORD}
    plain = client.post("/login", data=form, headers=ORIGIN).headers["set-cookie"]
    secure = TestClient(client.app, "https://testserver", follow_redirects=False)
    origin = {"origin": "https://testserver"}
    encrypted = secure.post("/login", data=form, headers=origin).headers["set-cookie"]

    assert "HttpOnly" in plain and "Max-Age=43200" in plain and "Path=/" in plain
    assert "SameSite=lax" in plain
    assert "Secure" not in plain and "Secure" in encrypted


def test_the_path_of_a_cookie_is_quoted(store: TaskStore, login: PasswordLogin) -> None:
    outer = Starlette(routes=[Mount("/of {team}", create_app(store, login=login))])
    with TestClient(outer, follow_redirects=False) as client:
        form = {"password": PASSWORD}
        done = client.post("/of%20a%3BDomain=x/login", data=form, headers=ORIGIN)

    assert "; Path=/of%20a%3BDomain%3Dx; " in done.headers["set-cookie"]


def test_the_cookie_of_a_session_is_only_sent_below_the_mount(
    store: TaskStore, login: PasswordLogin
) -> None:
    outer = Starlette(routes=[Mount("/ops/tasks", create_app(store, login=login))])
    with TestClient(outer, follow_redirects=False) as client:
        asked = client.get("/ops/tasks/workers")
        form = {"password": PASSWORD, "next": "/workers"}
        done = client.post("/ops/tasks/login", data=form, headers=ORIGIN)

    assert asked.headers["location"] == "/ops/tasks/login?next=%2Fworkers"
    assert done.headers["location"] == "/ops/tasks/workers"
    assert "Path=/ops/tasks;" in done.headers["set-cookie"]


def test_a_session_ends_with_the_logout(client: TestClient) -> None:
    assert log_in(client) == 303
    [(cookie, stolen)] = client.cookies.items()
    page = client.get("/workers").text
    without = client.post("/logout", headers=ORIGIN, data={"form_token": ""})
    token = {"form_token": form_token(page)}
    done = client.post("/logout", headers=ORIGIN, data=token)
    after = client.get("/workers")
    client.cookies.set(cookie, stolen)

    assert without.status_code == 403
    assert done.headers["location"] == "/login"
    assert after.status_code == 303
    assert client.get("/workers").status_code == 303


def test_servers_on_two_ports_of_a_host_do_not_end_each_others_sessions(
    store: TaskStore, client: TestClient
) -> None:
    assert log_in(client) == 303
    with open_client(store, PasswordLogin(f"another {PASSWORD}")) as other:
        other.cookies = client.cookies  # A browser has one jar for all ports.
        form = {"password": f"another {PASSWORD}", "next": "/"}
        assert other.post("/login", data=form, headers=ORIGIN).status_code == 303
        client.cookies = other.cookies

        assert other.get("/workers").status_code == 200
        assert client.get("/workers").status_code == 200


def test_another_password_ends_all_sessions() -> None:
    session = Session.begin("ann")
    old, new = (PasswordLogin(PASSWORD + text) for text in ("1", "2"))
    cookie = Sessions(old.key).seal(session)

    assert Sessions(old.key).open(cookie) == session
    assert Sessions(new.key).open(cookie) is None


def test_a_changed_or_old_cookie_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Sessions(b"k" * 32)
    cookie = store.seal(Session.begin("ann"))

    payload, at, signature = cookie.split(".")
    changed = signature[:-2] + ("AA" if signature[-2:] != "AA" else "BB")
    assert store.open(f"{payload}.{at}.{changed}") is None
    assert store.open(f"{Sessions(b'x').seal(Session('i', 'n'))}") is None
    assert store.open("") is store.open("a.b.c") is store.open(None) is None
    assert store.open(cookie) is not None
    monkeypatch.setattr(sessions, "AGE_S", -1)
    assert store.open(cookie) is None


def test_a_form_token_differs_each_time_and_belongs_to_one_session() -> None:
    store, ann, ben = Sessions(b"k" * 32), Session.begin("ann"), Session.begin("ben")
    first, second = store.form_token(ann), store.form_token(ann)

    assert first != second
    assert store.is_form_token(ann, first) and store.is_form_token(ann, second)
    assert not store.is_form_token(ben, first)
    for wrong in ("", "é", "AAAA", "A" * 88, first[:-4]):
        assert not store.is_form_token(ann, wrong)


@pytest.mark.parametrize(
    "headers",
    [
        *({}, {"origin": "https://evil.example"}, {"origin": "null"}),
        *({"origin": "http://["}, {"origin": "http://evil.example@testserver"}),
    ],
    ids=["none", "other", "null", "malformed", "userinfo"],
)
def test_a_login_of_another_site_is_refused(
    client: TestClient, headers: dict[str, str]
) -> None:
    response = client.post("/login", data={"password": PASSWORD}, headers=headers)

    assert response.status_code == 403
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    "next",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "\n//evil.example",
        "evil.example",
        "javascript:alert(1)",
        "/é",
        "",
    ],
)
def test_a_login_leads_only_to_own_pages(client: TestClient, next: str) -> None:
    form = {"password": PASSWORD, "next": next}
    response = client.post("/login", data=form, headers=ORIGIN)

    assert response.headers["location"] == own_path(next) == "/"


def test_passwords_cannot_be_tried_without_a_limit(
    client: TestClient, login: PasswordLogin
) -> None:
    wrong = [log_in(client, password=f"wrong {n}") for n in range(attempts.BURST)]
    form = {"password": PASSWORD}
    refused = client.post("/login", data=form, headers=ORIGIN)
    token = {"authorization": f"Bearer {PASSWORD}"}
    program = client.get("/api/v1/nothing", headers=token)
    elsewhere = TestClient(client.app, client=("10.0.0.9", 1), follow_redirects=False)

    assert wrong == [401] * attempts.BURST
    assert refused.status_code == program.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= attempts.REFILL_S
    assert program.headers["retry-after"]
    assert log_in(elsewhere) == 303


def test_the_total_of_attempts_is_limited_except_for_known_addresses() -> None:
    now = 0.0
    tried = Attempts(clock=lambda: now)
    assert tried.begin("10.0.0.1") == 0
    tried.succeed("10.0.0.1")
    hosts = [f"2001:db8:0:{n:x}::1" for n in range(attempts.TOTAL_BURST)]
    waits = [tried.begin(host) for host in hosts]

    assert waits == [0] * attempts.TOTAL_BURST
    assert tried.begin("10.0.0.2") > 0
    assert tried.begin("10.0.0.1") == 0
    now += attempts.TOTAL_REFILL_S
    assert tried.begin("10.0.0.2") == 0


def test_an_ipv4_address_is_one_whatever_its_form() -> None:
    tried = Attempts(clock=lambda: 0.0)
    same = ("10.0.0.1", "::ffff:10.0.0.1") * attempts.BURST
    waits = [tried.begin(each) for each in same[: attempts.BURST + 1]]

    assert [wait > 0 for wait in waits] == [False] * attempts.BURST + [True]
    assert tried.begin("::ffff:10.0.0.2") == 0


def test_addresses_in_a_network_of_ipv6_count_as_one() -> None:
    tried = Attempts(clock=lambda: 0.0)
    waits = [tried.begin(f"2001:db8::{n}") for n in range(1, attempts.BURST + 2)]

    assert waits == [0] * attempts.BURST + [attempts.REFILL_S]


def test_addresses_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_ADDRESSES", 3)
    tried = Attempts()
    for n in range(20):
        tried.begin(f"10.0.0.{n}")
        tried.succeed(f"10.0.0.{n}")

    assert len(tried._allowances) == len(tried._known) == 3


def test_programs_send_the_password_as_a_token(client: TestClient) -> None:
    unknown = client.get("/api/v1/nothing")
    wrong = client.get("/workers", headers={"authorization": "Bearer wrong"})
    token = {"authorization": f"bearer {PASSWORD}"}
    pages = [client.get("/workers", headers=token) for _ in range(20)]

    assert unknown.status_code == wrong.status_code == 401
    assert unknown.headers["www-authenticate"] == "Bearer"
    assert unknown.headers["content-type"] == "application/problem+json"
    assert {page.status_code for page in pages} == {200}
    assert "set-cookie" not in pages[0].headers


def test_a_part_that_refreshes_loads_the_page_again_when_the_session_has_ended(
    client: TestClient,
) -> None:
    response = client.get("/workers", headers={"hx-request": "true"})

    assert response.status_code == 401
    assert response.headers["hx-refresh"] == "true"


def test_the_login_is_reached_before_the_database(
    client: TestClient, store: TaskStore
) -> None:
    store.engine = store.engine.execution_options()
    page = client.get("/login")
    static = re.findall('(?:href|src)="(/static/[^"]+)"', page.text)

    assert page.status_code == 200
    assert {client.get(path).status_code for path in static} == {200}


def test_short_passwords_are_refused_and_long_ones_not_kept() -> None:
    with pytest.raises(InvalidPassword, match="at least 12"):
        PasswordLogin("short")
    login = PasswordLogin(PASSWORD)

    assert PASSWORD not in repr(vars(login)) + repr(vars(login._password))
    assert PASSWORD.encode() not in vars(login._password).values()


def proxied(store: TaskStore, peer: str) -> TestClient:
    login = ProxyLogin("X-Forwarded-User", ["10.1.0.0/16", "fd00::1"])
    app = TrustedProxies(
        create_app(store, login=login), addresses=["10.1.0.0/16", "fd00::1"]
    )
    return TestClient(app, client=(peer, 4711), follow_redirects=False)


def test_a_user_is_known_by_the_header_of_a_trusted_proxy(store: TaskStore) -> None:
    headers = {"x-forwarded-user": "ann", "x-forwarded-for": "203.0.113.9"}
    page = proxied(store, "10.1.2.3").get("/workers", headers=headers)
    other = proxied(store, "fd00::1").get("/workers", headers=headers)

    assert page.status_code == other.status_code == 200
    assert '<span class="user">ann</span>' in page.text


@pytest.mark.parametrize("peer", ["10.2.0.1", "127.0.0.1", "::1", "testclient", ""])
def test_the_header_of_other_addresses_is_refused(store: TaskStore, peer: str) -> None:
    headers = {"x-forwarded-user": "ann", "x-forwarded-for": "10.1.2.3"}
    response = proxied(store, peer).get("/workers", headers=headers)

    assert response.status_code == 403
    assert "through their proxy" in response.text
    assert "ann" not in response.text


@pytest.mark.parametrize(
    "names", [[], [""], ["ann", "ben"], ["a" * 101]], ids=["0", "empty", "2", "long"]
)
def test_a_trusted_proxy_names_exactly_one_user(
    store: TaskStore, names: list[str]
) -> None:
    headers = [("x-forwarded-user", name) for name in names]
    response = proxied(store, "10.1.2.3").get("/workers", headers=headers)

    assert response.status_code == 403
    assert "did not name a user" in response.text


def test_a_proxy_that_is_not_trusted_is_logged_once(
    store: TaskStore, login: PasswordLogin, caplog: pytest.LogCaptureFixture
) -> None:
    app = TrustedProxies(create_app(store, login=login), addresses=["10.1.0.0/16"])
    passed_on = {"x-forwarded-for": "203.0.113.9"}
    for peer, headers in [
        ("10.1.2.3", passed_on),
        ("10.2.0.1", {}),
        ("10.2.0.1", passed_on),
        ("10.3.0.1", passed_on),
    ]:
        TestClient(app, client=(peer, 4711)).get("/login", headers=headers)

    [line] = [each for each in caplog.messages if "passes requests on" in each]
    assert line.startswith("a proxy at 10.2.0.1 ")
    assert line.endswith("--trusted-proxy 10.2.0.1")


def test_the_addresses_of_a_proxy_are_checked() -> None:
    with pytest.raises(InvalidLogin, match="10.0.0.0/8"):
        ProxyLogin("X-User", ["proxy.example"])
    with pytest.raises(InvalidLogin, match="name the addresses"):
        ProxyLogin("X-User", [])


class _Backend(AuthenticationBackend):
    async def authenticate(
        self, conn: HTTPConnection
    ) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-test-user")
        return (AuthCredentials(), SimpleUser(name)) if name else None


def test_a_mounted_app_uses_the_login_of_its_application(store: TaskStore) -> None:
    login = AppLogin(
        lambda request: (
            request.user.display_name if request.user.is_authenticated else None
        )
    )
    outer = Starlette(
        routes=[Mount("/tasks", create_app(store, login=login))],
        middleware=[Middleware(AuthenticationMiddleware, backend=_Backend())],
    )
    with TestClient(outer) as client:
        refused = client.get("/tasks/workers")
        page = client.get("/tasks/workers", headers={"x-test-user": "<b>ann"})

    assert refused.status_code == 403
    assert '<span class="user">&lt;b&gt;ann</span>' in page.text
