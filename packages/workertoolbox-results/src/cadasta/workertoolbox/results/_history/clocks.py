"""How far the clocks of a fleet may differ."""

from __future__ import annotations

from datetime import timedelta

#: How far the clock of a publisher may be ahead. Later times are not believed.
MAX_LEAD = timedelta(minutes=5)

#: How far the clock of a publisher may be ahead of the clock of a worker: the end of a
#: task may seem to be this much earlier than its publication.
MAX_SKEW = timedelta(days=1)
