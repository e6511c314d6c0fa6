"""The values with which steps are taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

#: An ETA that the clock of the database does not reach.
FAR = datetime.now(UTC).replace(microsecond=0) + timedelta(days=300)

WAITS = st.sampled_from(
    [
        *(timedelta(seconds=61), timedelta(minutes=10), timedelta(hours=7)),
        *(timedelta(days=1), timedelta(days=9), timedelta(days=40)),
    ]
)

QUEUES = st.sampled_from(["export", "msg"])

ENDS = st.sampled_from([None, "SUCCESS", "FAILURE"])

KILLS = st.none() | st.integers(0, 40)
