"""Mock miners for development, demonstrations and load: in the database, or live at a hub."""

import asyncio
import logging
import signal
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from miners.seeding.arguments import BadArgument, base_url, duration_s, regions, whole
from miners.seeding.database import seed_miner_ids, seed_miners_remove, seed_miners_store
from miners.seeding.fleet import CannotRun, allow_sockets, fleet_run
from miners.seeding.places import PLACES, UnknownRegion
from miners.seeding.population import MAX_POPULATION, MinerSpec, population
from miners.seeding.screen import Screen

COUNT, SEED = 1000, 1
MAX_SEED = 2**63 - 1
ONLY_LIVE = ("base", "duration", "logout")
NOT_WHILE_REMOVING = ("count", "seed", "regions", "live", *ONLY_LIVE)


class Command(BaseCommand):
    help = (
        "Make realistic mock miners, seed-00001 and up: without --live as registered and online in the database, for "
        "the next start of a hub; with --live as clients of a running hub, with real sockets and changing load. The "
        "same --seed makes the same miners, so running it twice is harmless. Their api keys follow from the seed: "
        "nothing for a pool that strangers can reach."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        # values stay text until handle(), so that a bad one is one line and not a page of usage
        parser.add_argument("--count", help=f"how many miners, 1 to {MAX_POPULATION:,} (default {COUNT:,})")
        parser.add_argument("--seed", help=f"whole number that the miners follow from (default {SEED})")
        parser.add_argument(
            "--regions",
            nargs="*",
            metavar="REGION",
            help="only these regions, apart by spaces or commas; a prefix (eu) takes all of its regions, and a zone "
            f"(eu-west-1) is one of its own. Known: {', '.join(place.region for place in PLACES)} (default: all)",
        )
        parser.add_argument(
            "--live",
            action="store_true",
            help="register at a running hub and keep sockets open, with heartbeats, until Ctrl-C or SIGTERM; prints "
            "'N miners are live' once all are up",
        )
        parser.add_argument("--base", help="with --live: the hub's URL (default http://POOLHUB_HOST:POOLHUB_PORT)")
        parser.add_argument("--duration", help="with --live: stop after so many seconds (default: never)")
        parser.add_argument(
            "--logout",
            action="store_true",
            help="with --live: log the miners out at the end; without it the hub finds them silent, degraded after "
            "SESSION_TTL_SEC and offline after HEARTBEAT_GRACE_SEC (seconds)",
        )
        parser.add_argument(
            "--remove", action="store_true", help="delete every seed miner, and what hangs on it, from the database"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["remove"]:
                self.remove(options)
            elif options["live"]:
                self.live(options)
            else:
                self.store(options)
        except (BadArgument, UnknownRegion, CannotRun) as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            reason = str(error).split("\n")[0]
            raise CommandError(f"the database refuses: {reason} (is it migrated?)") from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None

    def store(self, options: dict[str, Any]) -> None:
        refuse(options, ONLY_LIVE, "needs --live")
        count, specs = asked(options)
        if settings.POOLHUB_ENV == "production":
            self.stderr.write("warning: whoever knows --seed knows these miners' keys; take them away with --remove")
        with closing(self.screen(options, count, "seeding")) as screen:
            stored = seed_miners_store(specs=specs, progress=screen.advance)
        self.tell(
            options,
            f"{stored.created:,} miners created, {stored.updated:,} updated.",
            f"A hub that starts within {settings.HEARTBEAT_GRACE_SEC:g} s has them online; one that runs already shows "
            "them after its next start. Use --live for miners that stay.",
        )

    def live(self, options: dict[str, Any]) -> None:
        base = base_url(options["base"], host=settings.POOLHUB_HOST, port=settings.POOLHUB_PORT)
        seconds = duration_s(options["duration"])
        count, specs = asked(options)
        allow_sockets(count)
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
        with closing(self.screen(options, count, "connecting")) as screen:
            asyncio.run(run_live(list(specs), base, seconds, screen, logout=options["logout"]))

    def remove(self, options: dict[str, Any]) -> None:
        refuse(options, NOT_WHILE_REMOVING, "does not go with --remove, which takes every seed miner from the database")
        with closing(self.screen(options, len(seed_miner_ids()), "removing")) as screen:
            removed = seed_miners_remove(progress=screen.advance)
        self.tell(
            options,
            f"{removed:,} seed miners removed.",
            "A hub that runs still has them, live ones too, until its next start.",
        )

    def screen(self, options: dict[str, Any], total: int, doing: str) -> Screen:
        return Screen(self.stdout, total=total, doing=doing, quiet=options["verbosity"] == 0)

    def tell(self, options: dict[str, Any], *lines: str) -> None:
        if options["verbosity"] > 0:
            self.stdout.write("\n".join(lines))


async def run_live(
    specs: Sequence[MinerSpec], base: str, seconds: float | None, screen: Screen, *, logout: bool
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def begin_stop() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one ends it at once
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, begin_stop)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    await fleet_run(specs=specs, base=base, stop=stop, watch=screen, logout=logout)


def asked(options: dict[str, Any]) -> tuple[int, Iterator[MinerSpec]]:
    """How many miners, and which."""
    count = whole("--count", options["count"], low=1, high=MAX_POPULATION, default=COUNT)
    seed = whole("--seed", options["seed"], low=0, high=MAX_SEED, default=SEED)
    return count, population(count, seed=seed, places=regions(options["regions"]))


def refuse(options: dict[str, Any], names: Sequence[str], why: str) -> None:
    for name in names:
        if options[name] not in (None, False):
            raise BadArgument(f"--{name} {why}")
