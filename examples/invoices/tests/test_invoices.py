"""Invoices, written by the tasks of the service."""

from __future__ import annotations

import pytest
from celery import Celery

from cadasta.workertoolbox.conf.testing import assert_tracked
from cadasta.workertoolbox.results import TaskStore
from invoices import post
from invoices.tasks import bill, price, send

ORDER = [(2, 250), (1, 999)]


class Mailbox:
    """A mail server that fails the first deliveries."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.mails: list[tuple[str, str]] = []

    def deliver(self, address: str, text: str) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionRefusedError("the mail server cannot be reached")
        self.mails.append((address, text))


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """The sent mails. The worker runs in this process, so `deliver` is replaced."""
    mailbox = Mailbox()
    monkeypatch.setattr(post, "deliver", mailbox.deliver)
    return mailbox


def test_what_is_scheduled_waits_for_a_worker(
    toolbox_app: Celery, toolbox_monitor: object
) -> None:
    [task] = assert_tracked(toolbox_app, price.delay(2, 250))

    assert (task.status, task.queue) == ("QUEUED", "invoices")


@pytest.mark.usefixtures("toolbox_worker", "toolbox_monitor")
class TestInvoices:
    """Tests that share one worker and one monitor."""

    def test_a_price(self, toolbox_app: Celery) -> None:
        result = price.delay(2, 250)

        assert result.get(timeout=10) == 500
        assert_tracked(toolbox_app, result)

    def test_an_order_is_billed_by_mail(
        self, toolbox_app: Celery, toolbox_store: TaskStore, mailbox: Mailbox
    ) -> None:
        result = bill(ORDER, "ada@example.org")

        assert result.get(timeout=10) == "2 items, 14.99"
        assert mailbox.mails == [("ada@example.org", "2 items, 14.99")]
        tasks = assert_tracked(toolbox_app, result)
        assert {task.status for task in tasks} == {"SUCCESS"}
        mail = tasks[-1]
        workflow = toolbox_store.workflow(str(mail.root_id))
        assert mail in workflow

    def test_sending_is_retried_if_the_mail_server_fails(
        self, toolbox_app: Celery, mailbox: Mailbox
    ) -> None:
        mailbox.away = 2
        result = send.delay("an invoice", "ada@example.org")

        assert result.get(timeout=10) == "an invoice"
        [task] = assert_tracked(toolbox_app, result)
        assert (task.retries, task.queue) == (2, "mail")
        assert len(mailbox.mails) == 1
