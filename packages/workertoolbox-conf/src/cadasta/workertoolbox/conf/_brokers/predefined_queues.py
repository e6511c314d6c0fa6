"""SQS queues that were created elsewhere, as names and URLs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.conf._errors import InvalidValue
from cadasta.workertoolbox.routing import InvalidSetting, expand_predefined_queues


def with_predefined_queues(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the predefined queues in the form that kombu takes.

    Raises:
        InvalidValue: The queues are given in two places, a queue has no URL, or a
            queue is given twice.
    """
    try:
        return expand_predefined_queues(values)
    except InvalidSetting as error:
        raise InvalidValue(str(error)) from None
