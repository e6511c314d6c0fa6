"""`tasks check` when AWS denies an action on SQS."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery import Celery
from kombu import pools

from support import sqs_requests
from support.checkups import ACTIONS, delete_sqs_queue, run_check, take_task_ids


def deny(
    action: str,
) -> Callable[[sqs_requests.Request], sqs_requests.ErrorResponse | None]:
    """Return a function that answers as AWS does if a policy denies an action."""
    names = {action.partition(":")[2], f"{action.partition(':')[2]}Batch"}

    def answer(request: sqs_requests.Request) -> sqs_requests.ErrorResponse | None:
        return (403, "AccessDeniedException") if request.operation in names else None

    return answer


@pytest.mark.parametrize("action", sorted(ACTIONS - {"sqs:CreateQueue"}))
def test_an_action_that_aws_denies_is_named_with_advice(
    declared_app: Callable[[str], Celery], action: str
) -> None:
    app = declared_app("sqs")
    with sqs_requests.recorded(deny(action)):
        checked = run_check(app, "--timeout", "5")

    assert checked.exit_code == 1
    assert action in checked.details("failed")
    assert set(checked.details("failed")) & ACTIONS == {action}
    assert f"allow {action}" in checked.advice(action)
    assert ACTIONS - {action} < set(checked.details("ok"))


def test_the_messages_of_tasks_are_not_used_to_try_actions(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("sqs")
    id = app.send_task("export.echo", [1]).id
    with sqs_requests.recorded() as requests:
        run_check(app)

    assert take_task_ids(app, "export") == [id]
    puts = [one.queue for one in requests if one.operation == "SendMessage"]
    assert [queue.rpartition("-")[2] for queue in puts] == ["platform.fifo"]


@pytest.mark.parametrize("missing", [False, True])
def test_create_queue_may_be_denied_unless_a_queue_is_missing(
    declared_app: Callable[[str], Celery], missing: bool
) -> None:
    app = declared_app("sqs")
    if missing:
        delete_sqs_queue(app, "msg")
    with sqs_requests.recorded(deny("sqs:CreateQueue")):
        checked = run_check(app)

    status = "failed" if missing else "ok"
    assert "denied" in checked.details(status)["sqs:CreateQueue"]


def test_a_denied_list_of_queues_is_named_with_advice(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("sqs")
    pools.reset()
    with sqs_requests.recorded(deny("sqs:ListQueues")):
        checked = run_check(app)

    assert list(checked.details("failed")) == ["sqs:ListQueues"]
    assert "predefined_queues" in checked.advice("sqs:ListQueues")
    assert checked.details("ok")["broker"].endswith("answers")
