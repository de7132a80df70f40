"""Market prices and standing over the processes of a cluster."""

import json
import re
import subprocess
import sys
from typing import Any

import httpx
import pytest

from market.runtime import LOOK_S
from tests.hub import ROOT, sql
from tests.multiprocess.cluster import both_workers, running_cluster
from tests.waiting import until

pytestmark = pytest.mark.cluster
PASSWORD = "correct horse battery staple"
FEED = """
from market.models import PriceFeed
from market.services.feeds import feed_save
feed_save(PriceFeed(name="f", source="prices.json", interval_s=86400, model_path="gpu", price_path="price", unit_path="'token/ksec'"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prices")


@pytest.fixture(scope="module")
def hub(tmp_path_factory, databases, folder):
    tell(folder, 0.5)
    with running_cluster(
        tmp_path_factory.mktemp("cluster"), **databases, MARKET_FEED_DIR=str(folder), DJANGO_SUPERUSER_PASSWORD=PASSWORD
    ) as started:
        manage(started, "createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com")
        manage(started, "shell", "--verbosity", "0", "--command", FEED)
        yield started


@pytest.fixture
def workers(hub):
    with both_workers(hub) as both:
        yield both


def manage(hub, *command: str) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *command],
        env=hub.env, check=True, timeout=90, cwd=ROOT, capture_output=True,
    )  # fmt: skip


def tell(folder, price: float) -> None:
    (folder / "prices.json").write_text(json.dumps([{"gpu": "RTX 4090", "price": price}]))


def ratio(worker, hub) -> float | None:
    """The miner's price against its market, in the registry of the process that answers."""
    market = json.loads(worker.ask("GET", "/v1/miners/priced", **hub.admin)[1])["market"]
    return None if market is None else market["ratio"]


def taken(worker, most: float) -> list[str]:
    asked = {"region": "priced", "max_price_vs_market": most}
    return [each["miner_id"] for each in worker.match(hints=asked)["candidates"]]


def test_a_market_price_that_one_process_takes_in_is_in_the_matches_of_the_others(hub, workers, folder) -> None:
    hub.register("priced", region="priced", gpu_name="NVIDIA GeForce RTX 4090", price_token_per_ksec=1)
    manage(hub, "sync_prices", "--all")  # a process that ends: the others look by themselves
    for worker in workers:
        until(lambda: ratio(worker, hub) == 2.0, LOOK_S + 10, "the price of another process")  # noqa: B023
        assert taken(worker, 1.9) == []
        assert taken(worker, 2) == ["priced"]
    tell(folder, 1)
    fetch_now(hub, workers[0])
    for worker in workers:
        until(lambda: ratio(worker, hub) == 1.0, 3, "told over the bus")  # noqa: B023
        assert taken(worker, 1.9) == ["priced"]


def fetch_now(hub, worker) -> None:
    """The admin's action, in this very process."""
    cookies: dict[str, str] = {}

    def send(method: str, path: str, form: dict[str, Any] | None = None) -> httpx.Response:
        content = httpx.Request(method, hub.base + path, data=form)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        if form is not None:
            headers["Content-Type"] = content.headers["Content-Type"]
        worker._connection.request(method, path, content.read() or None, headers)
        reply = worker._connection.getresponse()
        text = reply.read()
        for each in reply.headers.get_all("Set-Cookie") or []:
            name, _, value = each.partition(";")[0].partition("=")
            cookies[name] = value
        return httpx.Response(reply.status, content=text)

    send("GET", "/admin/login/")
    done = send(
        "POST",
        "/admin/login/",
        {"username": "root", "password": PASSWORD, "csrfmiddlewaretoken": cookies["poolhub_csrf"]},
    )
    assert done.status_code == 302, done.text
    ((pk,),) = sql(hub.env["DB_DSN"], "SELECT id FROM market_pricefeed")
    form = {"action": "fetch_now", "_selected_action": str(pk), "csrfmiddlewaretoken": cookies["poolhub_csrf"]}
    done = send("POST", "/admin/market/pricefeed/", form)
    assert done.status_code == 302, re.sub(r"\s+", " ", done.text)


def test_a_standing_is_added_up_over_all_processes(hub, workers) -> None:
    token = hub.register("standing", region="standing", max_parallel=9)
    for worker in workers:
        until(lambda: worker.candidates("standing") == ["standing"], 5, "matched")  # noqa: B023
    for number, worker in enumerate([workers[0]] * 3 + [workers[1]] * 2):
        worker.match(job_id=f"standing-{number}", hints={"region": "standing"}, dry_run=False)
        worker.match(job_id=f"elsewhere-{number}", hints={"region": "elsewhere"}, dry_run=False)

    def told() -> Any:
        """None before, and where a miner asks so often that it is told to wait."""
        answer = json.loads(workers[1].ask("GET", "/v1/miners/standing", Authorization=f"Bearer {token}")[1])
        return answer if answer.get("considered") == 10 else None

    found = until(told, 40, "what both processes counted")
    assert (found["eligible"], found["offered"], found["first"]) == (5, 5, 5)
    assert found["rejected"] == {"region": 5}
    assert (found["median_rank"], found["rank_percentile"]) == (1, 100)
