# ruff: noqa: E402 - Django is set up before what needs it is imported
"""How long the admin's list of miners takes: `python -m tests.servers python -m benchmarks.admin_list [COUNT]`.

Through Django's test client, so without a server: middleware, session, registry, database and templates. It makes its
miners in the database that TEST_DB_DSN names, or an SQLite file.
"""

import os
import statistics
import sys
from time import perf_counter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, setup_test_environment
from django.utils import timezone

from miners.models import MinerStatus
from miners.registry import runtime

URL = "/admin/miners/miner/"
ROUNDS = 15
ASKED: dict[str, dict[str, str]] = {
    "all": {},
    "page 1,000": {"p": "1000"},
    "by state": {"state": "online"},
    "by region": {"region": "eu-west"},
    "by price": {"price_from": "0.2", "price_to": "0.5"},
    "by trust": {"trust_from": "0.4"},
    "by state, region and GPU": {"state": "online", "region": "eu-west", "gpu": "NVIDIA GeForce RTX 4090"},
    "search for an id": {"q": "seed-0777"},
    "search for a GPU": {"q": "4090"},
    "search for nothing that is there": {"q": "no such miner"},
    "ordered by price": {"o": "8"},
    "ordered by temperature, downwards": {"o": "-7"},
}


def main(count: int) -> None:
    call_command("migrate", verbosity=0)
    call_command("seed_miners", count=count)
    MinerStatus.objects.update(last_seen=timezone.now())
    user, _ = User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
    setup_test_environment()  # so that answers tell how many miners they found
    client = Client()
    client.force_login(user)
    assert len(runtime.get_registry()) >= count
    print(f"{count:,} miners, {connection.vendor}, {ROUNDS} times each")
    print("| list | miners | queries | median, ms | slowest, ms |\n|---|---|---|---|---|")
    for name, params in ASKED.items():
        client.get(URL, params)
        took = []
        for _ in range(ROUNDS):
            begun = perf_counter()
            reply = client.get(URL, params)
            took.append((perf_counter() - begun) * 1000)
            assert reply.status_code == 200
        with CaptureQueriesContext(connection) as queries:
            found = client.get(URL, params).context["cl"].result_count
        print(f"| {name} | {found:,} | {len(queries)} | {statistics.median(took):.0f} | {max(took):.0f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
