"""Secrets in every place where the arguments and results of a task may hold them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from celery import Celery, chain, chord, group, states
from celery.app.task import Context
from kombu.utils.json import register_type
from sqlalchemy import select

from cadasta.workertoolbox.results import InvalidRedaction, Redaction
from cadasta.workertoolbox.results._arguments.secret_texts import MASK, mask_text
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results.backend import Backend

SECRET = "s3cret-value"


@pytest.fixture
def redaction(app: Celery) -> Redaction:
    """The rules of an app with a task that takes secrets in every kind of parameter."""
    app.conf.REDACT = {"export.pay": ["card", 2]}

    @app.task(name="export.login", shared=False)
    def login(user: str, password: str, *tokens: str) -> None: ...

    @app.task(name="export.pay", shared=False)
    def pay(user: str, card: str, third: str = "") -> None: ...

    @app.task(name="export.connect", shared=False)
    def connect(host: str, *, port: int = 1, **credentials: str) -> None: ...

    return Redaction.from_app(app)


def sent(signature: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a signature as a message contains them."""
    args, kwargs = signature.args, signature.kwargs
    decoded: tuple[list[Any], dict[str, Any]] = json.loads(
        json.dumps([list(args), kwargs])
    )
    return decoded


@pytest.mark.parametrize("method", ["map", "starmap", "chunks"])
def test_secrets_in_the_calls_of_a_map_are_masked(
    app: Celery, redaction: Redaction, method: str
) -> None:
    login = app.tasks["export.login"]
    items = [("ann", SECRET), ("bob", SECRET)]
    calls: dict[str, tuple[Any, ...]] = {
        "map": ([{"token": SECRET}],),
        "starmap": (items,),
        "chunks": (items, 1),
    }
    signature = getattr(login, method)(*calls[method])
    args, kwargs = redaction.redact(str(signature.task), *sent(signature))

    assert SECRET not in json.dumps([args, kwargs])
    if method != "map":
        assert kwargs["it"] == [["ann", MASK], ["bob", MASK]]


def test_arguments_of_a_map_may_be_given_by_position(redaction: Redaction) -> None:
    called = {"task": "export.pay", "args": [], "kwargs": {}}
    args, _ = redaction.redact("celery.starmap", [called, [["ann", SECRET]]], {})

    assert args == [called, [["ann", MASK]]]


def test_secrets_in_signatures_are_masked(app: Celery, redaction: Redaction) -> None:
    login, pay = app.tasks["export.login"], app.tasks["export.pay"]
    step = login.s("ann", SECRET)
    canvas = chord(
        group(step, chain(pay.si("ann", SECRET, SECRET), step)),
        pay.s(card=SECRET).set(link=login.si("x", SECRET)),
    )
    args, kwargs = redaction.redact("export.start", *sent(app.signature("x", [canvas])))

    assert SECRET not in json.dumps([args, kwargs])
    assert "ann" in json.dumps(args)


def test_texts_that_a_signature_gives_replace_its_arguments(
    app: Celery, redaction: Redaction
) -> None:
    step = app.signature("export.mail", ["hunter2hunter2"], {"body": "hunter2hunter2"})
    step.options.update(argsrepr="(…)", kwargsrepr="{…}")
    [shown], kwargs = redaction.redact(
        "export.start", *sent(app.signature("x", [step], {"on_done": step}))
    )

    assert (shown["args"], shown["kwargs"]) == ("(…)", "{…}")
    assert "hunter2" not in json.dumps([shown, kwargs])


def test_all_arguments_that_a_secret_star_takes_are_masked(
    redaction: Redaction,
) -> None:
    args, _ = redaction.redact("export.login", ["ann", "pw", SECRET, SECRET], {})
    _, kwargs = redaction.redact(
        "export.connect", ["db"], {"port": 5, "user": "ann", "anything": SECRET}
    )

    assert args == ["ann", MASK, MASK, MASK]
    assert kwargs == {"port": 5, "user": MASK, "anything": MASK}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"password": "s3", "a": 1}', '{"password": "********", "a": 1}'),
        ('{"a": [{"api-key": 7}]}', '{"a": [{"api-key": "********"}]}'),
        (json.dumps(json.dumps({"pwd": "x"})), json.dumps(json.dumps({"pwd": MASK}))),
        ('{"password": "broken', '{"password": "********"'),
        ("{'token': 'x', 'a': 2}", "{'token': '********', 'a': 2}"),
        (r'x {"a": "{\"pwd\": \"s\\\"3\"}"}', r'x {"a": "{\"pwd\": \"********\"}"}'),
        ("host=db password=s3 user=a", "host=db password=******** user=a"),
        ("host=db password='a b'", "host=db password='********'"),
        ("grant=x&client_secret=s3&y=1", "grant=x&client_secret=********&y=1"),
        ("Authorization: Bearer ab.c d", "Authorization: ********"),
        ("curl -H 'X-Api-Key: ab'", "curl -H 'X-Api-Key: ********'"),
        ("cvv: 123, name: x", "cvv: ********, name: x"),
        ("amqp://u:p@h//", "amqp://u:********@h//"),
        ("at amqp://u:a b@h// now", "at amqp://u:********@h// now"),
        ("redis://pw@h", "redis://********@h"),
        ("https://h/x?sig=ab&z=1", "https://h/x?sig=********&z=1"),
        ("credentials: {'a': ['b]']}, c", "credentials: ********, c"),
        ("token = client.make(user)", "token = client.make(user)"),
        ("see http://h:80/x and a@b", "see http://h:80/x and a@b"),
        ("password_length=7", "password_length=7"),
        ("10:30 a=b", "10:30 a=b"),
    ],
)
def test_secrets_in_texts_are_masked(text: str, shown: str) -> None:
    assert Redaction().redact("a", [text], {"b": [text]}) == ([shown], {"b": [shown]})


@pytest.mark.parametrize("text", ["a:", "token=", "://a:b ", "password:{", "=-", "'"])
def test_the_cost_of_masking_a_text_is_linear(text: str) -> None:
    # A quadratic cost would take minutes.
    mask_text(text * 100_000)


def test_pairs_of_a_name_and_a_value_are_masked() -> None:
    headers = [["Authorization", SECRET], ["Accept", "json"]]
    named = [{"name": "Cookie", "value": SECRET}, {"key": "a", "value": 1}]
    args, _ = Redaction().redact("a", [headers, named], {})

    assert args == [
        [["Authorization", MASK], ["Accept", "json"]],
        [{"name": "Cookie", "value": MASK}, {"key": "a", "value": 1}],
    ]


def test_a_secret_is_masked_where_another_argument_repeats_it() -> None:
    given = {"password": SECRET, "command": f"mysql -p{SECRET}", "folder": "a"}

    _, kwargs = Redaction().redact("a", [], given)
    assert kwargs == {"password": MASK, "command": f"mysql -p{MASK}", "folder": "a"}


@dataclass
class Account:
    password: str


register_type(Account, "test.account", vars, lambda v: Account(**v))


def test_secrets_in_objects_that_kombu_decodes_are_masked() -> None:
    args, _ = Redaction().redact("a", [[Account(SECRET)]], {})

    assert args[0][0]["__value__"] == {"password": MASK}


def store(
    backend: Backend, result: Any, state: str = states.SUCCESS, **request: Any
) -> Any:
    """Store a state as a worker does, and return its row."""
    values = {"id": "1", "task": "export.login", "args": [], "kwargs": {}} | request
    traceback = None
    if isinstance(result, Exception):
        traceback = f"Traceback:\n  login('x')\n{result!r}"
    backend.store_result("1", result, state, traceback, request=Context(values))
    with backend.database.engine.connect() as connection:
        return connection.execute(select(taskmeta)).one()


def as_text(row: Any) -> str:
    values = (bytes(v).decode() if isinstance(v, bytes) else str(v) for v in row)
    return "\n".join(values)


def test_secrets_of_arguments_are_masked_in_results(
    backend: Backend, redaction: Redaction
) -> None:
    text = as_text(
        store(
            Backend(backend.app, backend.url),
            {"echo": [SECRET], f"key {SECRET}": 1, "length": 12},
            args=["ann", SECRET],
        )
    )

    assert SECRET not in text
    assert '"length": 12' in text


@pytest.mark.parametrize(
    "request_values",
    [
        {"args": ["ann", SECRET]},
        {"args": ["ann", SECRET.encode()]},
        {"kwargs": {"token": SECRET}},
        {"kwargs": {"config": json.dumps({"token": SECRET})}},
        {"args": [SECRET], "workertoolbox_shown": {"argsrepr": "(…)"}},
        {"stamps": {"token": [SECRET]}, "stamped_headers": ["token"]},
    ],
)
@pytest.mark.parametrize("result_extended", [True, False])
def test_secrets_of_arguments_are_masked_in_errors(
    backend: Backend,
    redaction: Redaction,
    request_values: dict[str, Any],
    result_extended: bool,
) -> None:
    backend.app.conf.result_extended = result_extended
    error = ValueError(f"{SECRET} is wrong", {"a": SECRET})
    row = store(
        Backend(backend.app, backend.url), error, states.FAILURE, **request_values
    )

    assert SECRET not in as_text(row)
    assert "is wrong" in as_text(row)
    assert "is wrong" in row.traceback


def test_secret_names_and_urls_are_masked_in_errors(backend: Backend) -> None:
    error = ConnectionError(f"amqp://u:{SECRET}@h failed with password={SECRET!r}")
    text = as_text(store(backend, error, states.FAILURE))

    assert SECRET not in text
    assert "amqp://u:********@h failed" in text


@pytest.mark.parametrize(
    ("rule", "result", "shown"),
    [
        (
            ["card"],
            {"card": SECRET, "a": [{"CARD": 1}]},
            {"card": MASK, "a": [{"CARD": MASK}]},
        ),
        (["card"], {"token": "kept"}, {"token": "kept"}),
        ([0], [SECRET, "b"], [MASK, "b"]),
        (["ca*"], f"card={SECRET}", f"card={MASK}"),
        (lambda result: {"a": result["a"]}, {"a": 1, "b": SECRET}, {"a": 1}),
        (lambda result: result["missing"], {"b": SECRET}, MASK),
    ],
)
def test_rules_of_redact_results_apply_to_results(
    backend: Backend, rule: Any, result: Any, shown: Any
) -> None:
    backend.app.conf.REDACT_RESULTS = {"export.*": rule}
    row = store(Backend(backend.app, backend.url), result)

    assert json.loads(bytes(row.result)) == shown


@pytest.mark.parametrize(
    "rule", [["card"], [0], lambda text: text.replace(SECRET, "…")]
)
def test_rules_of_redact_results_apply_to_errors(backend: Backend, rule: Any) -> None:
    backend.app.conf.REDACT_RESULTS = {"*": rule}
    error = ValueError(f"card={SECRET}")
    row = store(Backend(backend.app, backend.url), error, states.FAILURE)

    assert SECRET not in bytes(row.result).decode()
    assert rule == [0] or SECRET not in row.traceback


def test_results_are_stored_as_they_are_without_rules(backend: Backend) -> None:
    result = {"access_token": SECRET, "url": "amqp://u:p@h"}

    assert json.loads(bytes(store(backend, result).result)) == result


def test_a_secret_stamp_is_masked(backend: Backend) -> None:
    stamps = {"token": [SECRET], "tenant": ["a"]}
    row = store(backend, 1, stamps=stamps, stamped_headers=list(stamps))

    assert json.loads(bytes(row.stamps))["stamps"] == {"token": MASK, "tenant": ["a"]}


@pytest.mark.parametrize("rules", [["token"], {"a": "token"}, {"a": [-1]}])
def test_an_invalid_rule_for_results_is_refused(rules: Any) -> None:
    with pytest.raises(InvalidRedaction, match="^REDACT_RESULTS="):
        Redaction(result_rules=rules)


def test_what_a_publisher_does_not_show_stays_in_the_result(backend: Backend) -> None:
    shown = {"argsrepr": "<1000 rows>"}
    row = store(backend, ["folder"], args=["folder"], workertoolbox_shown=shown)

    assert json.loads(bytes(row.result)) == ["folder"]
