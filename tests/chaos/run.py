"""A run: each fault is injected into a cluster under load, and lifted; then the checker looks."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.chaos import checker, found, report
from tests.chaos.checker import Window
from tests.chaos.faults import Fault
from tests.chaos.hub import Chaos, running
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.receivers import Site, serving

WARM_UP_S, AFTER_S, SPREAD_S = 6.0, checker.RECOVERED_S + 3.0, 1.5
DELIVERED_S = 45.0
SLOW_HEALTH_S = 1.5  # contract: 1 s; the rest is what two busy cores and the client add
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1jaGFvcy1ydW4tMDEyMw=="


class Run:
    """Faults on one hub, one after another."""

    def __init__(self, chaos: Chaos, load: Load, site: Site, *, after_s: float, timed: bool) -> None:
        """timed: what has to come within a time is checked too."""
        self._chaos, self._load, self._site, self._after_s, self._timed = chaos, load, site, after_s, timed
        self._known: set[str] = set()  # what broke before, of which no later fault is guilty

    async def one(self, fault: Fault) -> report.Row:
        journal = self._load.journal
        await asyncio.to_thread(self._chaos.wait_until_healthy)
        await asyncio.sleep(checker.STEADY_S)
        injected = time.monotonic()
        await asyncio.to_thread(fault.inject, self._chaos)
        await asyncio.sleep(fault.lasts_s)
        lifted = time.monotonic()
        await asyncio.to_thread(fault.lift, self._chaos)
        await asyncio.sleep(self._after_s)
        window = Window(injected, lifted, cut=fault.cut, deaf=fault.deaf, unsure=fault.unsure)
        of_this = [*self._timely(window)] if self._timed else []
        of_all = [*self._promises(), *await self._found()]  # the journal goes back to the first fault
        new = [each for each in of_all if each not in self._known]
        self._known |= set(new)
        if (mistake := self._load.failed()) is not None:
            raise mistake
        return report.row(fault.name, journal, window, [*of_this, *new])

    def _timely(self, window: Window) -> Iterator[str]:
        journal = self._load.journal
        yield from checker.slow_recovery(journal, window)
        yield from checker.untrue_health(journal, window)
        yield from checker.slow_health(journal, window, SLOW_HEALTH_S)

    def _promises(self) -> Iterator[str]:
        journal = self._load.journal
        yield from checker.offered_though_gone(journal)
        yield from checker.doubled_reservations(journal)
        yield from checker.lost_reservations(journal)

    async def _found(self) -> list[str]:
        journal, broken = self._load.journal, []
        async with self._load.client.paused():
            await asyncio.sleep(SPREAD_S)
            there = await asyncio.to_thread(found.in_database, self._chaos.dsn)
            now = self._chaos.now()
            for process, shown in await asyncio.to_thread(lambda: list(found.in_processes(self._chaos.hub))):
                broken += checker.wrong_registry(there, process, shown, now)
        for check in (
            checker.lost_registrations, checker.lost_feedback, checker.lost_overrides, checker.lost_commands,
            checker.lost_settlements,
        ):  # fmt: skip
            broken += check(journal, there)
        broken += checker.wrong_trust(there)
        return broken + await self._delivered()

    async def _delivered(self) -> list[str]:
        """What has not come when the time for it is over; what was taken meanwhile has time too."""
        until, asked = time.monotonic() + DELIVERED_S, await asyncio.to_thread(found.in_database, self._chaos.dsn)
        journal = Journal(commanded=list(self._load.journal.commanded))
        while True:
            now = await asyncio.to_thread(found.in_database, self._chaos.dsn)
            received = found.at_receiver(self._site.got)
            missing = [
                *checker.undelivered_settlements(asked, received),
                *checker.undelivered_commands(journal, now, self._load.connected),
            ]
            if not missing or time.monotonic() > until:
                return missing
            await asyncio.sleep(0.5)


async def run(
    chosen: Sequence[Fault],
    seed: int,
    folder: Path,
    *,
    moved_clock: bool = False,
    after_s: float = AFTER_S,
    timed: bool = True,
    then: Callable[[Chaos], object] = lambda _: None,
) -> list[report.Row]:
    """then: what is done with the hub at the end, while the load goes on."""
    with serving() as site:
        settings = {
            "SETTLEMENT_URL": site.url("/settled"), "SETTLEMENT_SECRETS": SECRET, "OUTBOUND_ALLOW": "127.0.0.1",
            "SETTLEMENT_TIMEOUT_SEC": "2",
        }  # fmt: skip
        with running(folder, moved_clock=moved_clock, **settings) as chaos:
            load = Load(chaos.hub, Journal(), seed)
            try:
                await load.begin()
                await asyncio.sleep(WARM_UP_S if timed else WARM_UP_S / 3)
                it, rows = Run(chaos, load, site, after_s=after_s, timed=timed), []
                for fault in chosen:
                    tell(f"{fault.name} …")
                    if fault.needs_disk and chaos.disk is None:
                        rows.append(report.not_run(fault.name, "needs a file system of its own: root, and mount"))
                    else:
                        rows.append(await it.one(fault))
                    tell("\n    ".join([rows[-1].line(), *rows[-1].broken[: report.SHOWN]]))
                await asyncio.to_thread(then, chaos)
                return rows
            finally:
                await load.end()


def tell(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
