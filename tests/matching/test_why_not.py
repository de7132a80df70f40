"""POST /v1/match/why-not"""

import pytest

from tests.matching.builders import COORDINATOR, add, ask, fields_of, match, own, pool, report, reserve, tokens

URL = "/v1/match/why-not"


def why_not(client, miner_id: str = "m1", **body):
    reply = ask(client, URL, miner_id=miner_id, **body)
    assert reply.status_code == 200, reply.content
    return reply.json()


def failed(client, **body) -> list[str]:
    return [each["constraint"] for each in why_not(client, **body)["failed"]]


@pytest.mark.parametrize("path", [URL, URL + "/"])
def test_an_eligible_miner_has_a_rank_and_fails_nothing(client, path) -> None:
    add()
    reply = ask(client, path, miner_id="m1")
    assert reply.json() == {"miner_id": "m1", "eligible": True, "rank": 1, "failed": []}


def test_the_rank_counts_over_all_eligible_whatever_top_k_says(client) -> None:
    pool(*(f"m{i}" for i in range(8)))
    add("small", gpu_vram=1.0)
    ranks = [why_not(client, f"m{i}", requirements={"min_vram_gb": 8}, top_k=2)["rank"] for i in range(8)]
    assert ranks == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_rank_is_the_place_in_the_answer(client) -> None:
    for miner_id, price, load in (("a", 0.3, 2), ("b", 0.1, 3), ("c", 0.2, 0), ("d", 0.2, 0)):
        add(miner_id, price=tokens(price))
        report(miner_id, queue_len=load, latency_ms=100.0 / (load + 1))
    order = [each["miner_id"] for each in match(client, top_k=4, dry_run=True)["candidates"]]
    assert [why_not(client, miner_id)["rank"] for miner_id in order] == [1, 2, 3, 4]


def test_every_constraint_that_fails_is_named_in_order(client, fake_clock) -> None:
    add("m1", gpu_vram=4.0, ram_gb=8.0, gpu_count=1, cpu_cores=2, accel=("cpu",), tags=("t",), capabilities=("c", "d"),
        proto="http", region="us", draining=True, disabled=True, price=tokens(2), trust_f=4.0, trust_at=1_800_000_000.0,
        max_parallel=2)  # fmt: skip
    report("m1", queue_len=3, latency_ms=100.0, mem_free_gb=1.0)
    fake_clock.advance(121)
    requirements = {
        "min_vram_gb": 8, "min_ram_gb": 16, "min_gpu_count": 2, "min_cpu_cores": 4, "min_mem_free_gb": 2,
        "gpu_models": ["H100"], "proto_any": ["grpc"], "accel": ["cuda"], "tags_any": ["x", "y"],
        "capabilities_any": ["e"], "capabilities_all": ["c", "e"], "attested": True, "min_trust": 0.5,
        "exclude_miners": ["m1", "m2"],
    }  # fmt: skip
    answer = why_not(client, requirements=requirements, hints={"region": "eu", "max_price": 0.5, "deadline_ms": 100})
    assert (answer["eligible"], answer["rank"]) == (False, None)
    rows = [(each["constraint"], each["asked"], each["actual"], each["transient"]) for each in answer["failed"]]
    named = {name: actual for name, _, actual, _ in rows}
    assert named["min_trust"] == pytest.approx(2 / 8, abs=1e-4)  # (2 + 0) / (4 + 0 + 4), and 121 s of forgetting
    assert [(name, asked, actual, waits) for name, asked, actual, waits in rows if name != "min_trust"] == [
        ("offline", "online", "offline", True),
        ("disabled", False, True, False),
        ("draining", False, True, True),
        ("excluded", ["m1", "m2"], "m1", False),
        ("min_vram_gb", 8, 4, False),
        ("min_ram_gb", 16, 8, False),
        ("min_gpu_count", 2, 1, False),
        ("min_cpu_cores", 4, 2, False),
        ("min_mem_free_gb", 2, 1, False),
        ("gpu_models", ["H100"], "RTX 4090", False),
        ("proto", ["grpc"], "http", False),
        ("accel", ["cuda"], ["cpu"], False),
        ("region", "eu", "us", False),
        ("tags_any", ["x", "y"], ["t"], False),
        ("capabilities_any", ["e"], ["c", "d"], False),
        ("capabilities_all", ["c", "e"], ["c", "d"], False),
        ("attested", True, False, False),
        ("max_price", 0.5, 2, False),
        ("capacity", 1, 0, True),
        ("deadline_ms", 100, 250, True),  # 100 × (1 + 3/2)
    ]
    assert [name for name, *_ in rows][-4:] == ["min_trust", "max_price", "capacity", "deadline_ms"]


def test_it_names_constraints_as_a_match_counts_them(client) -> None:
    add(max_parallel=1)
    report(queue_len=1)
    assert failed(client) == list(match(client)["rejected"]) == ["capacity"]


def test_what_is_not_known_is_null(client) -> None:
    add()
    assert why_not(client, requirements={"min_mem_free_gb": 1})["failed"] == [
        {"constraint": "min_mem_free_gb", "asked": 1, "actual": None, "transient": False}
    ]


def test_a_full_miner_is_in_time_again_when_it_has_room(client) -> None:
    """The deadline is tried on its own, on the load there is."""
    add(max_parallel=1)
    report(queue_len=1, latency_ms=100.0)
    assert failed(client, hints={"deadline_ms": 200}) == ["capacity"]
    assert failed(client, hints={"deadline_ms": 199}) == ["capacity", "deadline_ms"]


def test_reserve_is_ignored(client) -> None:
    add()
    assert why_not(client, reserve=True, reservation_ttl_ms=1000).keys() == {"miner_id", "eligible", "rank", "failed"}
    assert own() == 0


@pytest.mark.django_db
def test_the_jobs_own_reservation_does_not_count_against_it(client) -> None:
    add(max_parallel=1)
    reserve(client, "j1")
    assert why_not(client, job_id="j1")["eligible"] is True
    assert [each["constraint"] for each in why_not(client, job_id="j2")["failed"]] == ["capacity"]


def test_an_unknown_miner_is_404(client) -> None:
    reply = ask(client, URL, miner_id="nobody")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("miner_id", [None, "", "a b", "x" * 65, "a\n", 5])
def test_what_is_no_miner_id_is_422(client, miner_id) -> None:
    assert list(fields_of(ask(client, URL, miner_id=miner_id))) == ["miner_id"]


def test_the_rest_is_read_as_a_match_is(client) -> None:
    add()
    assert fields_of(ask(client, URL, miner_id="m1", requirements={"vram": 1})) == {
        "requirements.vram": "unknown_field"
    }
    assert fields_of(ask(client, URL, miner_id="m1", job_id=None)) == {"job_id": "required"}
    assert client.post(URL, b"{", content_type="application/json", headers=COORDINATOR).status_code == 400
