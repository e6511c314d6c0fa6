"""Tasks of the queue `msg`: what people are told about an export."""

from __future__ import annotations

from typing import Any

from celery import Task

from export_service.celery import app

#: Seconds a channel needs to become ready.
CHANNEL_DELAY = 0.5


class ChannelNotReady(Exception):
    """The channel for announcements does not take any yet."""


class WebhookRefused(Exception):
    """The receiver of a webhook does not want it."""


@app.task(name="msg.announce", bind=True, max_retries=1)
def announce(self: Task[..., str], folder: str, files: int) -> str:
    """Say that an export has begun; the channel is ready at the second attempt."""
    if self.request.retries == 0:
        raise self.retry(
            exc=ChannelNotReady("the channel opens with the first attempt"),
            countdown=CHANNEL_DELAY,
        )
    return f"the export of {folder} has begun: {files} files"


@app.task(name="msg.notify")
def notify(summary: dict[str, Any]) -> dict[str, Any]:
    """Say that an export is done, and pass on what it did."""
    text = f"{summary['files']} files are in {summary['output']}"
    return {**summary, "text": text}


@app.task(name="msg.remind")
def remind(output: str) -> str:
    """Remind whoever asked for an export to fetch it."""
    return f"{output} is waiting to be fetched"


@app.task(name="msg.webhook")
def webhook(url: str) -> None:
    """Fail, as the receiver of a webhook that is gone would make it.

    Raises:
        WebhookRefused: Always.
    """
    raise WebhookRefused(f"{url} answered 410 Gone; this failure was asked for")
