"""POST /v1/match: the answer."""

import pytest

from miners.registry.records import PriceWindow
from miners.registry.runtime import get_registry
from tests.matching.builders import COORDINATOR, add, ask, first, match, pool, report, tokens

WEIGHTS = ("cap", "price", "latency", "trust", "load")


def ids(answer) -> list[str]:
    return [each["miner_id"] for each in answer["candidates"]]


@pytest.mark.parametrize("path", ["/v1/match", "/v1/match/"])
def test_the_answer_has_the_shape_of_the_contract(client, path) -> None:
    add("m1", price=tokens(0.5), capabilities=("a",), trust_s=4.0, trust_at=1_800_000_000.0)
    report("m1", queue_len=1, latency_ms=100.0)
    add("old", gpu_vram=4.0)
    asked = {"min_vram_gb": 8, "capabilities_any": ["a", "b"]}
    reply = ask(client, path, job_id="j", requirements=asked, hints={"max_price": 0.8})
    explain = "cap=0.50 • price=0.38 • latency=1.00 • trust=0.75 • load=0.75"
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json() == {
        "job_id": "j",
        "candidates": [
            {
                "miner_id": "m1",
                "addr": "10.0.0.1:9000",
                "proto": "grpc",
                "score": 0.625,  # .4 × 1/2 + .2 × (1 - .5/.8) + .2 × 1 + .15 × 6/8 + .05 × 3/4
                "eta_ms": 125,  # 100 × (1 + 1/4)
                "price": 0.5,
                "region": "eu-west",
                "gpu_name": "RTX 4090",
                "components": {"cap": 0.5, "price": 0.375, "latency": 1.0, "trust": 0.75, "load": 0.75},
                "explain": explain,
            }
        ],
        "explain": explain,
        "considered": 2,
        "eligible": 1,
        "rejected": {"min_vram_gb": 1},
    }


def test_scores_and_components_have_six_places(client) -> None:
    add("m1", trust_s=1.0, trust_at=1_800_000_000.0, max_parallel=3, capabilities=("a",))
    report("m1", queue_len=1)
    found = match(client, requirements={"capabilities_any": ["a", "b", "c"]}, hints={"max_price": 3})["candidates"][0]
    assert found["components"] == {"cap": 0.333333, "price": 0.666667, "latency": 0.5, "trust": 0.6, "load": 0.666667}
    assert found["score"] == 0.49  # .4/3 + .2 × 2/3 + .1 + .09 + .05 × 2/3, to six places


def test_an_unknown_latency_has_no_eta(client) -> None:
    add()
    assert match(client)["candidates"][0]["eta_ms"] is None


def test_a_match_without_requirements_takes_the_best_of_all(client) -> None:
    pool("a", "b", "c")
    answer = match(client)
    assert (ids(answer), answer["considered"], answer["eligible"], answer["rejected"]) == (["a"], 3, 3, {})


def test_top_k_is_one_unless_it_is_asked(client) -> None:
    pool(*(f"m{i:02}" for i in range(60)))
    assert len(match(client)["candidates"]) == 1
    assert ids(match(client, top_k=3)) == ["m00", "m01", "m02"]
    assert len(match(client, top_k=50)["candidates"]) == 50


def test_equal_scores_go_by_price_and_then_by_id(client) -> None:
    for miner_id, price in (("b", 0.2), ("B", 0.2), ("c", 0.1)):
        add(miner_id, price=tokens(price))
    assert ids(match(client, top_k=3, hints={"weights": {"trust": 1}})) == ["c", "B", "b"]


def test_nobody_eligible_is_an_answer_that_says_why(client) -> None:
    pool("a", "b", "c")
    add("small", gpu_vram=4.0)
    add("off", disabled=True)
    reply = ask(client, requirements={"min_vram_gb": 8, "accel": ["rocm"]})
    assert reply.status_code == 200
    assert reply.json() == {
        "job_id": "j1",
        "candidates": [],
        "explain": "no miner of 5 is eligible: accel rejected 3, disabled 1, min_vram_gb 1",
        "considered": 5,
        "eligible": 0,
        "rejected": {"disabled": 1, "min_vram_gb": 1, "accel": 3},
    }


def test_an_empty_pool_says_so(client) -> None:
    assert match(client)["explain"] == "no miner of 0 is eligible"


def test_null_is_the_same_as_left_out(client) -> None:
    pool("a", "b")
    requirements = dict.fromkeys(
        (
            "task", "min_vram_gb", "min_ram_gb", "accel", "tags_any", "capabilities_any", "capabilities_all",
            "gpu_models", "min_gpu_count", "min_cpu_cores", "min_mem_free_gb", "min_trust", "proto_any",
            "exclude_miners", "attested",
        )
    )  # fmt: skip
    hints = dict.fromkeys(("region", "max_price", "deadline_ms", "weights", "explain", "spillover"))
    nothing = dict.fromkeys(("top_k", "reserve", "reservation_ttl_ms", "dry_run"))
    plain = match(client)
    assert match(client, requirements=requirements, hints=hints, **nothing) == plain
    assert match(client, requirements=None, hints=None) == plain
    partly = {"weights": {"cap": None, "price": 1.0}}
    assert match(client, hints=partly) == match(client, hints={"weights": {"price": 1.0}})


def test_empty_lists_constrain_nothing(client) -> None:
    add()
    lists = ("accel", "tags_any", "capabilities_any", "capabilities_all", "gpu_models", "proto_any", "exclude_miners")
    answer = match(client, requirements={name: [] for name in lists})
    assert (answer["eligible"], answer["candidates"][0]["components"]["cap"]) == (1, 1.0)


def test_unknown_fields_outside_requirements_and_hints_are_ignored(client) -> None:
    add()
    assert first(client, priority=9, nested={"a": [1, {"b": None}]}) == "m1"


def test_a_price_may_be_a_string(client) -> None:
    pool("a", "b")  # 0.1 and 0.2
    assert match(client, hints={"max_price": "0.1"})["rejected"] == {"max_price": 1}
    assert match(client, hints={"max_price": 0.1})["rejected"] == {"max_price": 1}


@pytest.mark.parametrize(
    ("requirements", "hints", "rejected"),
    [
        ({"task": "anything"}, {}, {}),
        ({"min_vram_gb": 24.5}, {}, {"min_vram_gb": 1}),
        ({"min_ram_gb": 65}, {}, {"min_ram_gb": 1}),
        ({"min_gpu_count": 2}, {}, {"min_gpu_count": 1}),
        ({"min_cpu_cores": 17}, {}, {"min_cpu_cores": 1}),
        ({"min_mem_free_gb": 0}, {}, {"min_mem_free_gb": 1}),  # unknown fails
        ({"gpu_models": ["h100", "a100"]}, {}, {"gpu_models": 1}),
        ({"gpu_models": ["rtx 40"]}, {}, {}),
        ({"proto_any": ["http", "ws"]}, {}, {"proto": 1}),
        ({"accel": ["cuda", "rocm"]}, {}, {"accel": 1}),
        ({}, {"region": "eu"}, {}),
        ({}, {"region": "e"}, {"region": 1}),
        ({}, {"region": "us"}, {"region": 1}),
        ({"tags_any": ["t"]}, {}, {"tags_any": 1}),
        ({"capabilities_any": ["c"]}, {}, {"capabilities_any": 1}),
        ({"capabilities_all": ["c"]}, {}, {"capabilities_all": 1}),
        ({"attested": True}, {}, {"attested": 1}),
        ({"attested": False}, {}, {}),
        ({"min_trust": 0.5}, {}, {}),
        ({"min_trust": 0.51}, {}, {"min_trust": 1}),
        ({"exclude_miners": ["m1", "nobody"]}, {}, {"excluded": 1}),
        ({}, {"max_price": 1}, {}),
        ({}, {"max_price": 0.99999999}, {"max_price": 1}),
        ({}, {"deadline_ms": 0}, {}),  # its eta is unknown
    ],
)
def test_each_field_of_the_body_reaches_its_constraint(client, requirements, hints, rejected) -> None:
    add()  # 24 GB, 64 GB of RAM, 1 GPU, 16 cores, grpc, cuda, eu-west, 1 token
    assert match(client, requirements=requirements, hints=hints)["rejected"] == rejected


def test_a_deadline_rejects_who_is_known_to_be_late(client) -> None:
    add()
    report(queue_len=1, latency_ms=100.0)  # eta 125
    assert match(client, hints={"deadline_ms": 124})["rejected"] == {"deadline_ms": 1}
    assert match(client, hints={"deadline_ms": 125})["rejected"] == {}


def test_a_full_miner_is_rejected_for_its_capacity(client) -> None:
    add(max_parallel=2)
    report(queue_len=1, busy=True, jobs=2)
    assert match(client)["rejected"] == {"capacity": 1}


@pytest.mark.parametrize("component", WEIGHTS)
def test_a_weight_left_out_is_nothing(client, component) -> None:
    add(price=tokens(0.25), max_parallel=1, capabilities=("a",), trust_s=1.0, trust_at=1_800_000_000.0)
    requirements, hints = {"capabilities_any": ["a", "b"]}, {"max_price": 1, "weights": {component: 0.001}}
    found = match(client, requirements=requirements, hints=hints)["candidates"][0]
    assert found["score"] == found["components"][component]


def test_only_the_proportions_of_weights_matter(client) -> None:
    add(capabilities=("a",))
    for factor in (1, 1e-9, 1e11):
        weights = {"cap": 3 * factor, "trust": 1 * factor}
        found = match(client, requirements={"capabilities_all": ["a"]}, hints={"weights": weights})["candidates"][0]
        assert found["score"] == 0.875  # (3 × 1 + 1 × 0.5) / 4


def test_the_default_weights_are_a_setting(client, settings) -> None:
    settings.DEFAULT_WEIGHTS = dict.fromkeys(WEIGHTS, 0.0) | {"trust": 2.0}
    add(trust_s=4.0, trust_at=1_800_000_000.0)
    assert match(client)["candidates"][0]["score"] == 0.75


def test_free_miners_score_one_for_their_price(client) -> None:
    add(price=0)
    assert match(client)["candidates"][0]["components"]["price"] == 1.0
    assert match(client, hints={"max_price": 0})["candidates"][0]["components"]["price"] == 1.0


def test_a_price_that_is_not_the_miners_own_says_so(client) -> None:
    always = PriceWindow(tokens(0.4), 0.0, float("inf"))
    add("own", price=tokens(0.6), region="a")
    add("override", price=tokens(0.6), overrides=(always,), region="b")
    add("cap", price=tokens(0.6), overrides=(always,), price_cap=tokens(0.2), region="c")
    said = {region: match(client, hints={"region": region, "max_price": 1})["candidates"][0] for region in "abc"}
    assert {region: found["price"] for region, found in said.items()} == {"a": 0.6, "b": 0.4, "c": 0.2}
    assert {region: found["explain"].split(" • ")[1] for region, found in said.items()} == {
        "a": "price=0.40", "b": "price=0.60 (override)", "c": "price=0.80 (cap)",
    }  # fmt: skip


def test_a_degraded_candidate_has_half_the_score_and_says_so(client, fake_clock) -> None:
    add(price=0)
    whole = match(client)["candidates"][0]
    fake_clock.advance(61)
    half = match(client)["candidates"][0]
    assert whole["explain"] == "cap=1.00 • price=1.00 • latency=0.50 • trust=0.50 • load=0.80"
    assert half["explain"] == whole["explain"] + " • degraded ×0.5"
    assert (half["score"], half["components"]) == (whole["score"] / 2, whole["components"])
    fake_clock.advance(60)
    assert match(client)["rejected"] == {"offline": 1}


def test_explain_full_adds_what_each_constraint_costs(client) -> None:
    add("m1")
    add("m2", gpu_vram=8.0)
    add("m3", gpu_vram=16.0)
    add("m4", draining=True)
    hints = {"explain": "full", "max_price": 1}
    assert match(client, requirements={"min_vram_gb": 24}, hints=hints)["relaxations"] == [
        {"constraint": "min_vram_gb", "asked": 24, "adds": 2, "relax_to": 16},
        {"constraint": "draining", "asked": False, "adds": 1},
        {"constraint": "offline", "asked": "online", "adds": 0},
        {"constraint": "disabled", "asked": False, "adds": 0},
        {"constraint": "max_price", "asked": 1, "adds": 0},
        {"constraint": "capacity", "asked": 1, "adds": 0},
    ]


@pytest.mark.parametrize("hints", [{}, {"explain": "short"}])
def test_without_explain_full_there_are_no_relaxations(client, hints) -> None:
    add()
    assert "relaxations" not in match(client, hints=hints)


def test_with_spillover_the_region_is_a_preference(client) -> None:
    add("near", region="eu-west", price=tokens(0.2))
    add("far", region="us", price=tokens(0.2))
    for miner_id in ("near", "far"):
        report(miner_id, latency_ms=50.0)
    answer = match(client, top_k=2, hints={"region": "eu", "spillover": True})
    assert ids(answer) == ["near", "far"]
    assert [each["components"]["latency"] for each in answer["candidates"]] == [1.0, 0.5]  # 1 - 150/300
    assert match(client, top_k=2, hints={"region": "eu", "spillover": False})["rejected"] == {"region": 1}


def test_with_spillover_a_region_counts_as_far_as_the_table_says(client) -> None:
    get_registry().roundtrips.replace({("us", "eu"): 30.0, ("eu", "asia"): 301.0})
    for miner_id, region in (("near", "eu-west"), ("middle", "us-east"), ("far", "asia")):
        add(miner_id, region=region, price=tokens(0.2))
        report(miner_id, latency_ms=50.0)
    answer = match(client, top_k=3, hints={"region": "eu", "spillover": True})
    assert [(each["miner_id"], each["components"]["latency"]) for each in answer["candidates"]] == [
        ("near", 1.0), ("middle", 0.9), ("far", 0.0),
    ]  # fmt: skip


def test_spillover_without_a_region_changes_nothing(client) -> None:
    pool("a", "b")
    assert match(client, top_k=2, hints={"spillover": True}) == match(client, top_k=2)


def test_the_same_pool_gives_the_same_answer(client) -> None:
    pool("a", "b", "c")
    assert match(client, top_k=3, dry_run=True) == match(client, top_k=3, dry_run=True)


def test_a_match_asks_for_its_json_whatever_is_accepted(client) -> None:
    add()
    reply = client.post(
        "/v1/match", {"job_id": "j"}, content_type="application/json", headers={**COORDINATOR, "Accept": "text/html"}
    )
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
