"""Exports of whole projects: workflows with a chord, as in the export service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from export_demo.week.calls import Call, new_id, signature
from export_demo.week.clock import Clock
from export_demo.week.failures import full_disk, refused_webhook
from export_demo.week.fleet import Job

#: Exports on a day.
EXPORTS = 19

#: How long a reminder waits.
COUNTDOWN = timedelta(seconds=15)

PROJECTS = ("harbour", "old-town", "river-bank", "station", "university")


def export_jobs(clock: Clock, share: float) -> Iterator[Job]:
    """Yield the exports of the week; a few fail, one hangs, and one has just begun."""
    for n, at in enumerate(clock.times(max(2, int(share * EXPORTS)))):
        yield Export(clock, at, chunks=2 + n % 4, refuses=n % 8 == 0).job()
    yield Export(clock, clock.ago(days=1, hours=4), chunks=60).job()
    for hours in (100, 80, 26):
        yield Export(clock, clock.ago(hours=hours), fails=True).job()
    yield Export(clock, clock.ago(hours=3, minutes=12), fails=True).job()
    yield Export(clock, clock.ago(minutes=52), hangs=True).job()
    yield Export(clock, clock.ago(seconds=25), chunks=12).job()


@dataclass
class Export:
    """An export: its tasks, in the order in which they are published.

    Attributes:
        chunks: Number of parts, each with a table and an archive.
        fails: Whether the disk is full when a part is packed.
        hangs: Whether packing a part does not end.
        refuses: Whether the customer's web server refuses the call at the end.
    """

    clock: Clock
    at: datetime
    chunks: int = 5
    fails: bool = False
    hangs: bool = False
    refuses: bool = False
    root: Call = field(init=False)
    left: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        project = self.clock.chance.choice(PROJECTS)
        self.folder = f"/srv/projects/{project}"
        self.output = f"/srv/exports/{project}-{self.at:%Y%m%d-%H%M}.zip"
        self.root = Call(
            id=new_id(self.clock.chance),
            name="export.project",
            at=self.at,
            args=[self.folder, self.output],
            headers={"tenant": f"{project}.example.com"},
        )

    def job(self) -> Job:
        """Return the job that begins the export."""
        run_s = self.clock.chance.lognormvariate(-0.4, 0.4)
        result = {"chunks": self.chunks, "output": self.output}
        return Job(call=self.root, run_s=run_s, result=result, then=self._parts)

    def _call(self, name: str, at: datetime, **others: Any) -> Call:
        given: dict[str, Any] = {"parent_id": self.root.id, **others}
        return Call(
            id=new_id(self.clock.chance),
            name=name,
            at=at,
            service="export",
            host="export-5f6c7b8d9f-k7rtz",
            root_id=self.root.id,
            **given,
        )

    def _parts(self, at: datetime) -> Iterable[Job]:
        """Yield the header of a chord, and a reminder that waits."""
        bundle = self._call("export.bundle", at, args=[self.output])
        notify = self._call("msg.notify", at, parent_id=bundle.id)
        names = ["export.describe", "export.pack"] * self.chunks + ["msg.announce"]
        self.left = len(names)
        chord = signature(bundle, link=[signature(notify)])
        others: dict[str, Any] = {
            "group_id": new_id(self.clock.chance),
            "embedded": {"chord": {**chord, "chord_size": len(names)}},
        }

        def finish(at: datetime) -> Iterable[Job]:
            self.left -= 1
            if not self.left:
                yield self._bundle(bundle, notify, at)

        for n, name in enumerate(names):
            args = [self.folder, n // 2] if name != "msg.announce" else [self.output]
            is_last = n == len(names) - 2
            part = self._call(name, at, args=args, **others)
            bundle_of_part = replace(bundle, parent_id=part.id)
            yield self._part(part, is_last, finish, [bundle_of_part, notify])
        remind = self._call("msg.remind", at, eta=at + COUNTDOWN, args=[self.output])
        yield Job(call=remind, run_s=0.05)

    def _part(
        self,
        call: Call,
        is_last: bool,
        then: Callable[[datetime], Iterable[Job]],
        later_steps: Sequence[Call],
    ) -> Job:
        """Return a task of the header; trouble comes to the last archive."""
        fails = is_last and self.fails
        mean = 1.4 if call.name == "export.pack" else 0.2
        return Job(
            call=call,
            run_s=self.clock.chance.lognormvariate(mean, 0.5),
            result={"files": 96},
            failure=lambda at: full_disk(self.folder) if fails else None,
            max_retries=1,
            hangs=is_last and self.hangs,
            then=then,
            later_steps=later_steps,
        )

    def _bundle(self, bundle: Call, notify: Call, at: datetime) -> Job:
        chance = self.clock.chance

        def tell(at: datetime) -> Iterable[Job]:
            yield Job(
                call=replace(notify, at=at),
                run_s=chance.lognormvariate(-2, 0.4),
                result={"output": self.output, "files": 96 * self.chunks},
            )
            if self.refuses:
                hook = self._call("msg.webhook", at, parent_id=bundle.id)
                yield Job(call=hook, run_s=0.4, failure=lambda at: refused_webhook())

        return Job(
            call=replace(bundle, at=at),
            run_s=chance.lognormvariate(0.6, 0.4),
            result={"files": 96 * self.chunks, "bytes": 4_194_304 * self.chunks},
            then=tell,
        )
