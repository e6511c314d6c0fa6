"""What a broker needs beyond its URL."""

from __future__ import annotations

import os
from typing import Any

#: Region of the queues where the transport options name none.
REGION = "us-west-2"


def broker_settings(broker_url: object, *, prefix: str) -> dict[str, Any]:
    """Return Celery settings for the broker that the app will really use.

    Celery lets `CELERY_BROKER_URL` in the environment win over any code, and so do
    we. Without a URL from either there is nothing to add.
    """
    match _scheme(os.environ.get("CELERY_BROKER_URL") or broker_url):
        case "sqs":
            options = {"region": REGION, "queue_name_prefix": f"{prefix}-"}
            return {"broker_transport_options": options}
        case "filesystem":
            transport = "cadasta.workertoolbox.routing.filesystem:Transport"
            return {"broker_transport": transport}
    return {}


def _scheme(url: object) -> str:
    if isinstance(url, list | tuple) and url:
        url = url[0]
    return url.partition("://")[0].lower() if isinstance(url, str) else ""
