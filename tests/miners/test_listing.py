"""GET /v1/miners and GET /v1/miners/{miner_id}"""

from decimal import Decimal

import pytest
from django.test import Client

from miners.registry.records import Report
from miners.services.operators import (
    miner_create,
    miner_disable,
    miner_set_operator_drain,
    miner_set_price_cap,
    price_override_create,
)
from tests.miners.builders import fields_of, key_of, post, register

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/v1/miners"


def ids(admin, **params: str) -> list[str]:
    reply = admin.get(URL, params)
    assert reply.status_code == 200, reply.content
    return [row["miner_id"] for row in reply.json()["results"]]


def test_a_row_holds_everything(admin, client, registry, time) -> None:
    token = register(region="eu", gpu_vram=24.0, tags=["t"], capabilities=["c"], wallet_address="0x1", max_parallel=4)
    time.advance(5)
    sent = {"queue_len": 2, "busy": True, "current_jobs": ["a"], "avg_latency_ms": 9, "temp_c": 60, "mem_free_gb": 5.5,
            "price_token_per_ksec": 0.75}  # fmt: skip
    post(client, "/v1/miners/update", sent, token=token)
    registry.add_own("m1", 1)
    assert admin.get(f"{URL}/m1").json() == {
        "miner_id": "m1", "state": "online", "addr": "10.1.2.3:9000", "proto": "http", "gpu_name": "", "gpu_vram": 24.0,
        "gpu_count": 1, "cpu_cores": 0, "ram_gb": 0.0, "max_parallel": 4, "region": "eu", "accel": [], "tags": ["t"],
        "capabilities": ["c"], "wallet_address": "0x1", "registered_at": "2027-01-15T08:00:00.000Z",
        "price_token_per_ksec": 0.75, "price": 0.75, "price_source": "own", "price_cap": None, "market": None,
        "draining": False, "operator_drain": False, "disabled": False, "attested_until": None, "claimed": {}, "trust": 0.5,
        "measured_latency_ms": None,
        "lease_expires_at": "2027-01-15T08:01:05.000Z", "reservations": 1,
        "live": {"last_seen": "2027-01-15T08:00:05.000Z", "queue_len": 2, "busy": True, "current_jobs": 1, "occupied": 3,
                 "avg_latency_ms": 9.0, "temp_c": 60.0, "mem_free_gb": 5.5},
    }  # fmt: skip
    assert admin.get(URL).json() == {"results": [admin.get(f"{URL}/m1/").json()], "next_cursor": None}


def test_no_key_material_is_shown(admin) -> None:
    register()
    for path in (URL, f"{URL}/m1"):
        shown = admin.get(path).content.decode().lower()
        assert key_of("m1") not in shown
        assert "hash" not in shown
        assert "session" not in shown


def test_the_effective_price_and_its_source(admin) -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    price_override_create(miner_id="m1", price=Decimal("0.7"))
    row = admin.get(f"{URL}/m1").json()
    assert (row["price_token_per_ksec"], row["price"], row["price_source"]) == (0.9, 0.7, "override")
    miner_set_price_cap(miner_id="m1", price=Decimal("0.3"))
    row = admin.get(f"{URL}/m1").json()
    assert (row["price"], row["price_source"], row["price_cap"]) == (0.3, "cap", 0.3)


def test_every_state_is_shown(admin, client, time) -> None:
    register("gone")
    time.advance(100)
    register("late")
    register("off")
    miner_disable(miner_id="off")
    time.advance(70)
    register("here")
    register("drained")
    miner_set_operator_drain(miner_id="drained", drain=True)
    miner_create(miner_id="never")
    found = {row["miner_id"]: row["state"] for row in admin.get(URL).json()["results"]}
    assert found == {"drained": "draining", "gone": "offline", "here": "online", "late": "degraded", "never": "offline",
                     "off": "disabled"}  # fmt: skip
    for state in set(found.values()):
        assert ids(admin, state=state) == [name for name in found if found[name] == state]


def test_a_miner_that_was_never_seen_has_no_times(admin) -> None:
    miner_create(miner_id="m1")
    row = admin.get(f"{URL}/m1").json()
    assert (row["registered_at"], row["lease_expires_at"], row["live"]["last_seen"]) == (None, None, None)


def test_pages_come_in_the_order_of_code_points(admin) -> None:
    names = ["a", "B", "b", "a-1", "a.1", "a1", "A", "_", "10", "9"]
    for name in names:
        register(name)
    seen, cursor = [], None
    for _ in range(4):
        page = admin.get(URL, {"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [row["miner_id"] for row in page["results"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == (sorted(names), None)


def test_filters(admin) -> None:
    register("m1", region="eu", gpu_vram=8.0, tags=["t"], gpu_name="RTX 4090")
    register("m2", region="eu-west", gpu_vram=24.0, capabilities=["c"], gpu_name="H100")
    register("m3", region="europe", gpu_vram=80.0, tags=["t"])
    assert ids(admin, region="eu") == ["m1", "m2"]
    assert ids(admin, min_vram_gb="24") == ids(admin, min_vram_gb="8.5") == ["m2", "m3"]
    assert ids(admin, min_vram_gb="2.4e1") == ids(admin, min_vram_gb="8.50000000000000000001") == ["m2", "m3"]
    assert ids(admin, tag="t") == ["m1", "m3"]
    assert ids(admin, capability="c") == ["m2"]
    assert ids(admin, capability="none") == ids(admin, state="offline") == []
    assert ids(admin, q="rtx") == ["m1"]
    assert ids(admin, q="M2") == ["m2"]
    assert ids(admin, region="eu", tag="t", state="online", q="") == ["m1"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "501"), ("limit", "0"), ("limit", "-1"), ("limit", "x"), ("limit", "1.5"), ("limit", "٣"),
        ("limit", "9" * 5000), ("state", "asleep"), ("min_vram_gb", "-1"), ("min_vram_gb", "nan"),
        ("min_vram_gb", "1e400"), ("min_vram_gb", "much"), ("q", "\x00"), ("region", "r" * 300), ("cursor", "a\n"),
    ],
)  # fmt: skip
def test_a_parameter_out_of_bounds_is_422(admin, name, value) -> None:
    assert fields_of(admin.get(URL, {name: value})) == {name}


def test_every_parameter_at_fault_is_named(admin) -> None:
    assert fields_of(admin.get(URL, {"limit": "x", "state": "y", "min_vram_gb": "z"})) == {
        "limit",
        "state",
        "min_vram_gb",
    }


@pytest.mark.parametrize(
    "headers", [{}, {"X-Admin-Secret": "wrong"}, {"X-Coordinator-Secret": "coordinator-secret-for-tests"}]
)
@pytest.mark.parametrize("path", [URL, f"{URL}/m1", f"{URL}/m1/"])
def test_without_the_admin_secret_it_is_401(client, path, headers) -> None:
    register()
    reply = client.get(path, headers=headers)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"]


@pytest.mark.parametrize("name", ["nobody", "a b", "é", "x" * 65, "m1%0a"])
def test_an_unknown_miner_is_404(admin: Client, name) -> None:
    register()
    assert admin.get(f"{URL}/{name}").status_code == 404


def test_a_full_page_of_many(admin, registry, time) -> None:
    for i in range(12):
        register(f"m{i:02}")
        registry.report(f"m{i:02}", Report(at=time.now(), queue_len=i))
    rows = admin.get(URL, {"limit": 500}).json()["results"]
    assert [row["live"]["queue_len"] for row in rows] == list(range(12))
