"""The tasks of the queue `msg`: notifications about an export."""

from __future__ import annotations

from typing import Any

from celery import Task

from export_service.celery import app

#: Seconds until a channel is ready.
CHANNEL_DELAY = 0.5


class ChannelNotReady(Exception):
    """The channel does not accept announcements yet."""


class WebhookRefused(Exception):
    """The receiver refused a webhook."""


@app.task(name="msg.announce", bind=True, max_retries=1)
def announce(self: Task[..., str], folder: str, files: int) -> str:
    """Announce an export; the channel is ready at the second attempt."""
    if self.request.retries == 0:
        raise self.retry(
            exc=ChannelNotReady("the channel opens with the first attempt"),
            countdown=CHANNEL_DELAY,
        )
    return f"the export of {folder} has begun: {files} files"


@app.task(name="msg.notify")
def notify(summary: dict[str, Any]) -> dict[str, Any]:
    """Announce that an export is done, and return its summary with a text."""
    text = f"{summary['files']} files are in {summary['output']}"
    return {**summary, "text": text}


@app.task(name="msg.remind")
def remind(output: str) -> str:
    """Send a reminder to fetch an export."""
    return f"{output} is waiting to be fetched"


@app.task(name="msg.webhook")
def webhook(url: str) -> None:
    """Fail like a webhook whose receiver is gone.

    Raises:
        WebhookRefused: Always.
    """
    raise WebhookRefused(f"{url} answered 410 Gone; this failure was asked for")
