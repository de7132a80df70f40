"""Fetch market prices from the feeds of the admin."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from market.models import PriceFeed
from market.services.feeds import Went, feeds_sync, prices_sync
from market.services.medians import market_purge


class Command(BaseCommand):
    help = "Fetch the price feeds that are due. The worker and the embedded hub do so all the time."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("feeds", nargs="*", metavar="FEED", help="only these, due or not")
        parser.add_argument("--all", action="store_true", help="every feed that is switched on, due or not")

    def handle(self, *args: Any, feeds: list[str], **options: Any) -> None:
        chosen = PriceFeed.objects.filter(enabled=True)
        unknown = set(feeds) - set(PriceFeed.objects.filter(name__in=feeds).values_list("name", flat=True))
        if unknown:
            raise CommandError(f"there is no feed {', '.join(sorted(unknown))}")
        if feeds or options["all"]:
            done = feeds_sync(list(PriceFeed.objects.filter(name__in=feeds) if feeds else chosen))
        else:
            done = prices_sync()
        for each in done:
            self.stdout.write(f"{each.feed}: {each.went}: {each.detail}")
        if not done:
            self.stdout.write("no feed is due")
        market_purge()
        if any(each.went is Went.FAILED for each in done):
            raise CommandError("a feed failed; its last prices stay")
