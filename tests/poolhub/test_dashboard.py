"""/admin/ and the numbers that it asks for."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client

from poolhub import dashboard, multiproc
from poolhub.common import clock, metrics
from poolhub.common.errors import Unavailable
from tests.operators import staff, superuser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("registry")]
URL = "/admin/dashboard.json"


@pytest.fixture(autouse=True)
def fresh() -> None:
    dashboard.forget()


@pytest.fixture
def root() -> Client:
    return superuser()


def told(client: Client) -> dict:
    dashboard.forget()
    reply = client.get(URL)
    assert reply.status_code == 200, reply.content
    assert "no-store" in reply.headers["Cache-Control"]
    return reply.json()


def region(found: dict, name: str) -> dict:
    return next(each for each in found["regions"] if each["name"] == name)


# ---- who


@pytest.mark.parametrize("url", [URL, "/admin/"])
def test_strangers_are_sent_to_the_login(client, url) -> None:
    assert client.get(url).headers["Location"].startswith("/admin/login/")


def test_who_may_not_see_miners_gets_no_numbers() -> None:
    client = staff("auth.view_user")
    assert client.get(URL).status_code == 403
    assert b"hub-dashboard" not in client.get("/admin/").content
    assert b"Ask an administrator" in client.get("/admin/").content


def test_no_member_of_staff_is_not_let_in() -> None:
    client = Client()
    client.force_login(User.objects.create_user("somebody"))
    assert client.get(URL).status_code == 302


def test_who_may_see_miners_sees_them() -> None:
    client = staff("miners.view_miner")
    assert client.get(URL).status_code == 200
    assert b'data-url="/admin/dashboard.json"' in client.get("/admin/").content


# ---- what


def test_miners_and_slots_are_told_by_region(root, registry) -> None:
    from miners.services.operators import miner_disable
    from tests.miners.builders import register

    register("m1", region="eu", max_parallel=4, price_token_per_ksec=Decimal(1))
    register("m2", region="eu", max_parallel=2)
    register("m3", max_parallel=8)
    miner_disable(miner_id="m2")
    registry.add_own("m1", 3)
    found = told(root)
    assert region(found, "eu")["states"] == {"disabled": 1, "offline": 0, "draining": 0, "degraded": 0, "online": 1}
    assert (region(found, "eu")["slots"], region(found, "eu")["used"]) == (4, 3)
    assert (region(found, "(none)")["slots"], region(found, "(none)")["used"]) == (8, 0)


def test_more_regions_than_fit_are_added_up(root, registry) -> None:
    from tests.miners.builders import register

    for i in range(dashboard.MAX_REGIONS + 3):
        register(f"m{i}", region=f"r{i:02}", max_parallel=2)
    found = told(root)
    assert len(found["regions"]) == dashboard.MAX_REGIONS + 1
    assert (found["regions"][-1]["name"], found["regions"][-1]["slots"]) == ("other", 6)


def test_more_taken_than_there_is_counts_as_all(root, registry) -> None:
    from tests.miners.builders import register

    register("m1", region="eu", max_parallel=2)
    registry.add_own("m1", 9)
    assert region(told(root), "eu")["used"] == 2


def test_counters_are_those_of_the_metrics(root, monkeypatch) -> None:
    before = told(root)["counters"]
    metrics.MATCH_REQUESTS.labels(outcome="matched").inc(3)
    metrics.MATCH_EMPTY.labels(constraint="region").inc()
    metrics.HEARTBEATS.labels(transport="ws").inc(7)
    metrics.FEEDBACK.labels(outcome="completed").inc(2)
    metrics.MATCH_LATENCY.observe(0.3)
    after = told(root)
    for name, label, more in (
        ("match_requests", "matched", 3), ("match_empty", "region", 1), ("heartbeats", "ws", 7),
        ("feedback", "completed", 2),
    ):  # fmt: skip
        assert after["counters"][name][label] - before[name].get(label, 0) == more
    assert after["counts_of"].startswith("process ")


def test_bounds_of_the_latency_come_in_order_and_end_with_all_of_them(root) -> None:
    metrics.MATCH_LATENCY.observe(5000)
    latency = told(root)["latency"]
    numbers = list(latency.values())
    assert numbers == sorted(numbers)
    assert list(latency)[-1] == "+Inf"
    assert numbers[-1] > numbers[-2]


def test_with_several_processes_the_counters_are_those_of_the_machine(root, tmp_path, monkeypatch) -> None:
    from prometheus_client.mmap_dict import MmapedDict, mmap_key

    monkeypatch.setenv(multiproc.VARIABLE, str(tmp_path))
    for pid in (1, 2):
        file = MmapedDict(str(tmp_path / f"counter_{pid}.db"))
        name = "poolhub_heartbeats"
        file.write_value(mmap_key(name, f"{name}_total", ("transport",), ("ws",), "x"), 5.0, 0.0)
        file.close()
        file = MmapedDict(str(tmp_path / f"histogram_{pid}.db"))
        name = "poolhub_match_latency_ms"
        for bound in ("0.25", "+Inf"):
            file.write_value(mmap_key(name, f"{name}_bucket", ("le",), (bound,), "x"), 2.0, 0.0)
        file.close()
    found = told(root)
    assert found["counts_of"] == "machine"
    assert found["counters"]["heartbeats"] == {"ws": 10.0}
    assert found["latency"] == {"0.25": 4.0, "+Inf": 8.0}


def test_reservations_are_told_or_said_to_be_unknown(root, registry, monkeypatch) -> None:
    assert told(root)["reservations"] == 0

    def away(*, now: float) -> list:
        raise Unavailable("away")

    monkeypatch.setattr(registry.ledger, "live", away)
    assert told(root)["reservations"] is None


def test_the_parts_are_told(root, settings) -> None:
    settings.REDIS_URL = ""
    parts = told(root)["parts"]
    assert (parts["status"], parts["database"], parts["redis"], parts["worker"]) == ("ok", "ok", "off", "off")


def test_a_worker_that_nobody_has_seen_is_missing(root, settings, monkeypatch) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr("poolhub.chores.worker_seen_at", lambda: None)
    parts = told(root)["parts"]
    assert (parts["worker"], parts["worker_seen_s"]) == ("missing", None)


def test_a_worker_that_was_seen_is_told_with_its_age(root, settings, monkeypatch) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr("poolhub.chores.worker_seen_at", lambda: clock.now() - 3)
    parts = told(root)["parts"]
    assert (parts["worker"], parts["worker_seen_s"] >= 3) == ("ok", True)


def test_many_who_look_cost_what_one_costs(root, monkeypatch) -> None:
    made = []
    monkeypatch.setattr(dashboard, "_parts", lambda now, real=dashboard._parts: made.append(now) or real(now))
    for _ in range(5):
        assert root.get(URL).status_code == 200
    assert len(made) == 1
