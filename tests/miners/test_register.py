"""POST /v1/miners/register"""

from decimal import Decimal

import pytest

from miners.models import Miner, MinerStatus
from miners.registry.records import Report, State
from miners.registry.runtime import get_registry
from miners.services.operators import miner_create, miner_disable, miner_set_operator_drain, price_override_create
from miners.sessions import hash_api_key
from tests.miners.builders import body, fields_of, key_of, post, register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/v1/miners/register"


def test_a_new_miner_is_created(client, time) -> None:
    reply = post(client, URL, body(region="eu", gpu_vram=24))
    assert reply.status_code == 201
    told = reply.json()
    assert told.pop("session_token")
    assert told == {
        "status": "online", "miner_id": "m1", "session_ttl_sec": 60, "lease_ttl_sec": 60, "next_heartbeat_sec": 20,
        "success": True,
    }  # fmt: skip
    assert view().state is State.ONLINE
    assert view().lease_expires_at == time.now() + 60
    assert stored().status.last_seen.timestamp() == time.now()


def test_both_forms_of_the_route_exist(client) -> None:
    assert post(client, URL + "/", body()).status_code == 201


def test_neither_key_nor_token_is_stored(client) -> None:
    token = post(client, URL, body()).json()["session_token"]
    kept = Miner.objects.values().get()
    assert kept["api_key_hash"] == hash_api_key(key_of("m1"))
    assert token not in str(kept)
    assert key_of("m1") not in str(kept)


def test_the_same_key_replaces_the_whole_profile(client) -> None:
    register(gpu_vram=24.0, capabilities=["old"], accel=["cuda"], proto="grpc", max_parallel=4)
    reply = post(client, URL, body(addr="10.9.9.9:1"))
    assert reply.status_code == 200
    row = view().row
    assert (row.addr, row.gpu_vram, row.capabilities, row.accel, row.proto, row.max_parallel) == (
        "10.9.9.9:1", 0.0, (), (), "http", 1,
    )  # fmt: skip


def test_registering_again_keeps_what_the_hub_and_its_operators_know(client) -> None:
    register()
    Miner.objects.update(trust_s=3, latency_mean=40, latency_count=6)
    miner_set_operator_drain(miner_id="m1", drain=True)
    price_override_create(miner_id="m1", price=Decimal("0.2"))
    assert post(client, URL, body()).status_code == 200
    found = view()
    assert (found.row.trust_s, found.row.latency_mean, found.row.operator_drain, found.price) == (
        3,
        40,
        True,
        20_000_000,
    )


def test_registering_again_starts_the_live_status_and_the_miners_own_drain_afresh(client) -> None:
    token = register()
    post(client, "/v1/miners/update", {"draining": True, "queue_len": 5, "avg_latency_ms": 9}, token=token)
    assert view().live.queue_len == 5
    assert post(client, URL, body()).status_code == 200
    found = view()
    assert (found.row.draining, found.live.queue_len, found.live.latency_ms, found.state) == (False, 0, None, "online")
    assert MinerStatus.objects.get().queue_len == 0


def test_registering_again_ends_the_earlier_token(client) -> None:
    old = register()
    new = post(client, URL, body()).json()["session_token"]
    assert post(client, "/v1/miners/update", {}, token=old).status_code == 401
    assert post(client, "/v1/miners/update", {}, token=new).status_code == 200


def test_another_key_is_401_and_changes_nothing(client) -> None:
    token = register(region="eu")
    before = Miner.objects.values().get()
    reply = post(client, URL, body(api_key="another-key-0123456789", addr="6.6.6.6:6"))
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"]
    assert Miner.objects.values().get() == before
    assert view().row.addr == "10.1.2.3:9000"
    assert post(client, "/v1/miners/update", {}, token=token).status_code == 200


def test_closed_enrolment_refuses_strangers_as_it_refuses_a_wrong_key(client, settings) -> None:
    settings.ENROLLMENT = "closed"
    miner_create(miner_id="known")
    stranger = post(client, URL, body("stranger"))
    wrong = post(client, URL, body("known", api_key="another-key-0123456789"))
    assert stranger.status_code == wrong.status_code == 401
    assert stranger.json()["detail"] == wrong.json()["detail"]
    assert not Miner.objects.filter(miner_id="stranger").exists()


def test_closed_enrolment_takes_a_miner_that_an_operator_created(client, settings) -> None:
    settings.ENROLLMENT = "closed"
    _, key = miner_create(miner_id="m1")
    assert view().state is State.OFFLINE
    reply = post(client, URL, body(api_key=key))
    assert (reply.status_code, view().state) == (200, State.ONLINE)


def test_a_disabled_miner_is_403(client) -> None:
    register()
    miner_disable(miner_id="m1")
    reply = post(client, URL, body())
    assert (reply.status_code, reply.json()["code"]) == (403, "disabled")
    assert post(client, URL, body(api_key="another-key-0123456789")).status_code == 401


def test_the_body_of_the_aitbc_client(client) -> None:
    reply = post(client, URL, {
        "miner_id": "m1", "api_key": key_of("m1"), "addr": "http://10.0.0.9:8101", "proto": "http",
        "gpu_vram_gb": 23.9, "gpu_name": None, "cpu_cores": 16, "ram_gb": 16.0, "max_parallel": 3,
        "base_price": "0.01", "tags": {"platform": "CUDA", "cuda": "12.4"}, "capabilities": ["inference"],
    })  # fmt: skip
    assert reply.status_code == 201
    row = view().row
    assert (row.gpu_vram, row.price, row.gpu_name) == (23.9, 1_000_000, "")
    assert (row.tags, row.accel) == (("platform=CUDA", "cuda=12.4"), ("cuda",))


def test_null_is_left_out(client) -> None:
    sent = dict.fromkeys(
        [
            "proto",
            "gpu_name",
            "gpu_vram",
            "gpu_count",
            "price_token_per_ksec",
            "max_parallel",
            "region",
            "accel",
            "tags",
        ]
    )
    assert post(client, URL, body(**sent)).status_code == 201
    assert (view().row.proto, view().row.gpu_count, view().row.max_parallel) == ("http", 1, 1)


def test_unknown_fields_are_ignored(client) -> None:
    assert post(client, URL, body(some_future_field={"a": [1]})).status_code == 201


def test_prices_are_exact_to_eight_places(client) -> None:
    post(client, URL, body(price_token_per_ksec="999999999.12345678"))
    assert view().row.price == 99_999_999_912_345_678
    register("m2", price_token_per_ksec=None)
    assert str(stored().price) == "999999999.12345678"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("miner_id", ""), ("miner_id", "x" * 65), ("miner_id", "a b"), ("miner_id", "é"), ("miner_id", "a\n"),
        ("miner_id", 7), ("miner_id", None), ("api_key", "short"), ("api_key", 1234567890123456), ("addr", "x" * 257),
        ("addr", ""), ("addr", None), ("addr", "a\rb"), ("proto", "gopher"), ("region", "r" * 65), ("gpu_vram", -1),
        ("gpu_vram", "much"), ("gpu_vram", 1e12), ("gpu_vram", True), ("cpu_cores", True), ("cpu_cores", 1.5),
        ("max_parallel", 0), ("max_parallel", 10_001), ("price_token_per_ksec", -0.1), ("price_token_per_ksec", "NaN"),
        ("price_token_per_ksec", 1e30), ("price_token_per_ksec", "cheap"), ("base_price", "Infinity"),
        ("tags", [f"t{i}" for i in range(65)]), ("tags", ["t" * 65]), ("tags", "cuda"), ("tags", [["x"]]),
        ("tags", {"k": "v" * 64}), ("tags", {"k": {}}), ("capabilities", [f"c{i}" for i in range(257)]),
        ("capabilities", ["c" * 129]), ("capabilities", [None]), ("gpu_name", "g" * 257), ("wallet_address", "w" * 257),
        ("accel", "cuda"),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_422_and_leaves_nothing(client, name, value) -> None:
    reply = post(client, URL, body(**{name: value}))
    assert name in {field.split(".")[0].split("[")[0] for field in fields_of(reply)}
    assert not Miner.objects.exists()
    assert len(get_registry()) == 0


def test_every_field_at_fault_is_named(client) -> None:
    assert fields_of(post(client, URL, {"miner_id": "a b", "api_key": "short"})) == {"miner_id", "api_key", "addr"}


def test_what_is_at_the_bounds_is_taken(client) -> None:
    sent = body(
        "x" * 64, addr="a" * 256, gpu_vram=1e6, gpu_count=0, max_parallel=10_000, price_token_per_ksec=1e9,
        tags=[f"{i:064}" for i in range(64)], capabilities=[f"{i:0128}" for i in range(256)], region="r" * 64,
    )  # fmt: skip
    assert post(client, URL, sent).status_code == 201


def test_the_rate_is_limited(client, settings) -> None:
    settings.RATELIMIT_REGISTER = "1/h"
    assert post(client, URL, body()).status_code == 201
    reply = post(client, URL, body())
    assert reply.status_code == 429
    assert int(reply.headers["Retry-After"]) > 0


def test_a_refused_miner_can_be_reported_on_as_before(client, registry, time) -> None:
    """The registry is not touched by a registration that fails."""
    register()
    registry.report("m1", Report(at=time.now(), queue_len=4))
    post(client, URL, body(api_key="another-key-0123456789"))
    assert view().live.queue_len == 4
