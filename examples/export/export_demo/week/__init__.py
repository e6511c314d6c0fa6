"""A generated week of a shop: a history in which every page shows something.

`generate` invents about 20,000 tasks of seven days, and what goes wrong among them.
`write` stores them as monitors, workers and the archiver would have done::

    upgrade(app.conf.result_backend)
    write(app, generate(now=datetime.now(UTC)))
"""

from export_demo.week.story import generate
from export_demo.week.writer import has_week, write

__all__ = ["generate", "has_week", "write"]
