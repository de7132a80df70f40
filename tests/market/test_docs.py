"""The steps of docs/market.md, taken from its text and run as it says."""

import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.test import Client

from market.forms import PriceFeedForm
from market.models import PriceFeed
from market.services.feeds import Went, feed_save, feeds_sync
from market.services.operators import unit_save
from tests.docs.pages import section
from tests.hub import ROOT, free_port
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = section(Path("docs/market.md"), "A feed in ten minutes", 2)
SERVE, ALLOW, LOOK = re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
FIELDS = dict(re.findall(r"^\| ([a-z ]+) \| `(.*?)` \|$", TEXT, re.MULTILINE))


@contextmanager
def served(port: int):
    command = shlex.split(SERVE.replace("python3", sys.executable))
    command[command.index("http.server") + 1] = str(port)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.kill()


def test_a_reader_who_follows_the_steps_sees_prices(settings) -> None:
    named = re.search(r"name `(.+?)`, tokens `(.+?)`\s.*?seconds `(.+?)`", TEXT, re.DOTALL)
    assert named is not None
    unit_save(name=named[1], tokens=Decimal(named[2]), seconds=int(named[3]))
    name, _, value = ALLOW.strip().partition("=")
    setattr(settings, name, (ip_network(value),))
    port = free_port()
    form = {each.replace(" ", "_"): value for each, value in FIELDS.items()}
    form["interval_s"] = form.pop("interval")
    form["source"] = form["source"].replace(str(urlsplit(form["source"]).port), str(port))
    filled = PriceFeedForm({**form, "enabled": "on"})
    assert filled.is_valid(), filled.errors
    feed_save(filled.save(commit=False))

    def fetched() -> bool:
        (done,) = feeds_sync(list(PriceFeed.objects.all()))
        return done.went is Went.CHANGED

    with served(port):
        until(fetched, limit_s=20)
    address = urlsplit(re.search(r'\$HUB(\S+)"', LOOK)[1])  # type: ignore[index]
    found = Client().get(address.path, dict(parse_qsl(address.query))).json()["results"]
    assert found
    assert {each["model"] for each in found} == {"4090"}
