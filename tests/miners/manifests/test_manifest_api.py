"""POST /v1/miners/manifest: what is accepted, what is refused though its token is good, and what a match makes of it."""

from collections import Counter
from typing import Any

import pytest

from miners.models import Manifest, ManifestIssuer, Miner, PriceOverride
from miners.registry import loader, runtime
from miners.registry.store import Registry
from miners.services.manifests import KEEP, manifest_revoke, manifests_purge, manifests_revoke_of
from miners.services.operators import miner_disable, miner_issue_key, miner_remove
from poolhub.common import clock
from poolhub.common.errors import Conflict, NotFound
from poolhub.common.metrics import MANIFESTS
from tests.miners.builders import post, register, stored, view
from tests.miners.manifests.builders import NOW as START
from tests.miners.manifests.builders import claims, jwks, key, signed
from tests.miners.manifests.issuing import URL, accept, fresh, issuer, kept, reason_of, send
from tests.miners.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)

COORDINATOR = {"X-Coordinator-Secret": "coordinator-secret-for-tests"}


@pytest.fixture
def trusted(time) -> ManifestIssuer:
    return issuer()


@pytest.fixture
def token(time) -> str:
    """m1's session."""
    return register(gpu_name="GTX 1060", gpu_vram=6, region="eu", capabilities=["a"])


def found(client: Any, **requirements: Any) -> list[str]:
    sent = {"job_id": "j", "requirements": requirements, "dry_run": True}
    reply = client.post("/v1/match", sent, content_type="application/json", headers=COORDINATOR)
    assert reply.status_code == 200, reply.content
    return [each["miner_id"] for each in reply.json()["candidates"]]


def everything() -> list[Any]:
    models: list[Any] = [Miner, Manifest, ManifestIssuer, PriceOverride]
    return [list(model.objects.order_by("pk").values()) for model in models]


# ---- accepted


def test_a_good_manifest_attests_the_miner_until_it_expires(client, trusted, token, time) -> None:
    reply = send(client, token, fresh(gpu_count=8, capabilities=["x"]))
    assert reply.status_code == 200
    assert reply.json() == {
        "miner_id": "m1", "attested": True, "attested_until": "2027-01-15T09:00:00.000Z", "issuer": "tests", "jti": "j1",
        "values": {"gpu_name": "NVIDIA H100", "gpu_vram": 80, "gpu_count": 8, "capabilities": ["x"]},
    }  # fmt: skip
    assert found(client, attested=True, min_vram_gb=80, gpu_models=["h100"], capabilities_all=["x"]) == ["m1"]
    assert found(client, capabilities_all=["a"]) == []
    time.advance(3599)
    post(client, "/v1/miners/update", {}, token=register(gpu_name="GTX 1060", gpu_vram=6, capabilities=["a"]))
    assert found(client, attested=True, min_vram_gb=80) == ["m1"]
    time.advance(1)
    assert found(client, attested=True) == []
    assert found(client, min_vram_gb=80) == []
    assert found(client, gpu_models=["gtx 1060"], capabilities_all=["a"]) == ["m1"]


def test_the_body_may_hold_the_session_token_as_on_the_other_routes(client, trusted, token) -> None:
    assert post(client, URL, {"manifest": fresh(), "session_token": token}).status_code == 200


def test_what_is_attested_is_beside_what_is_claimed_in_the_list_of_miners(client, admin, trusted, token) -> None:
    before = admin.get("/v1/miners/m1").json()
    assert (before["attested_until"], before["claimed"], before["gpu_vram"]) == (None, {}, 6)
    send(client, token, fresh())
    shown = admin.get("/v1/miners/m1").json()
    assert shown["attested_until"] == "2027-01-15T09:00:00.000Z"
    assert (shown["gpu_name"], shown["gpu_vram"], shown["region"]) == ("NVIDIA H100", 80, "eu")
    assert shown["claimed"] == {"gpu_name": "GTX 1060", "gpu_vram": 6}
    assert admin.get("/v1/miners", {"min_vram_gb": "80", "q": "h100"}).json()["results"] == [shown]


def test_the_claims_of_a_miner_are_kept_and_change_beside_what_is_attested(client, trusted, token, time) -> None:
    send(client, token, fresh(capabilities=["x"]))
    post(client, "/v1/miners/update", {"capabilities": ["b"], "price_token_per_ksec": 2}, token=token)
    assert (stored().capabilities, stored().gpu_vram) == (["b"], 6)
    assert found(client, capabilities_all=["b"]) == []
    register(gpu_name="RTX 3090", gpu_vram=24, capabilities=["c"])
    assert (stored().capabilities, stored().gpu_vram) == (["c"], 24)
    assert found(client, capabilities_all=["x"], min_vram_gb=80, gpu_models=["h100"]) == ["m1"]
    time.advance(3600)
    register(gpu_name="RTX 3090", gpu_vram=24, capabilities=["c"])
    assert found(client, min_vram_gb=25) == []
    assert found(client, capabilities_all=["c"], gpu_models=["3090"]) == ["m1"]


def test_the_manifest_in_force_sent_again_is_answered_alike_and_changes_nothing(client, trusted, token, time) -> None:
    manifest = fresh()
    first = send(client, token, manifest)
    time.advance(100)
    before = everything()
    again = send(client, token, manifest)
    assert (again.status_code, again.json()) == (200, first.json())
    assert everything() == before


def test_a_newer_manifest_takes_the_place_of_the_one_before_whoever_signed_it(client, trusted, token, time) -> None:
    send(client, token, fresh(capabilities=["x"]))
    time.advance(10)
    issuer(name="other", issuer="https://other.example")
    newer = fresh(iss="https://other.example", gpu_vram=24, gpu_name=None)
    assert send(client, token, newer).status_code == 200
    assert view().row.attested.values() == {"gpu_vram": 24}
    assert view().row.attested_until == START + 10 + 3600
    assert kept() == [("j1", "replaced"), ("j1", "")]


def test_a_restarted_process_has_what_the_others_have(trusted, token, time) -> None:
    accept(token, fresh())
    other = runtime.new_registry()
    loader.load(other, now=clock.now())
    mine = view()
    theirs = other.get("m1", now=clock.now())
    assert theirs is not None
    assert theirs.row == mine.row
    assert mine.row.attested_until == START + 3600
    time.advance(3600)
    late = runtime.new_registry()
    loader.load(late, now=clock.now())
    rows = [each.get("m1", now=clock.now()) for each in (other, late)]
    assert [each.row for each in rows if each] == [view().row] * 2


def test_a_process_that_missed_the_manifest_finds_it_in_the_database(trusted, token, time) -> None:
    behind = runtime.new_registry()
    loader.load(behind, now=clock.now())
    accept(token, fresh())
    assert _taken(behind) == 1
    found = behind.get("m1", now=clock.now())
    assert found is not None
    assert found.row == view().row


def _taken(registry: Registry) -> int:
    rows = list(loader.stale_rows(registry, now=clock.now()))
    for row, last_seen in rows:
        registry.upsert(row, now=clock.now(), last_seen=last_seen)
    return len(rows)


def test_an_issuer_that_is_disabled_or_has_new_keys_leaves_what_is_attested(client, trusted, token) -> None:
    send(client, token, fresh())
    trusted.enabled, trusted.jwks = False, jwks(key("ES256", "k9"))
    trusted.save()
    miner_issue_key(miner_id="m1")
    assert view().row.attested_until == START + 3600


# ---- refused: nothing changes


def test_a_refusal_says_its_reason_is_counted_and_changes_nothing(client, trusted, token) -> None:
    send(client, token, fresh())
    before, row = everything(), view().row
    counted = MANIFESTS.labels(outcome="bad_signature")._value.get()
    bad = signed(claims(jti="j2", now=clock.now()), by=key("ES256", "k2"), kid="k1")
    assert reason_of(send(client, token, bad)) == "bad_signature"
    assert MANIFESTS.labels(outcome="bad_signature")._value.get() == counted + 1
    assert everything() == before
    assert view().row == row


@pytest.mark.parametrize("manifest", [None, 5, "", [], {}])
def test_a_body_without_a_manifest_is_refused_like_any_body(client, trusted, token, manifest) -> None:
    assert send(client, token, manifest).status_code == 422


def test_a_manifest_too_long_has_its_reason(client, trusted, token) -> None:
    assert reason_of(send(client, token, "x" * 20_000)) == "too_long"


def test_without_a_session_nothing_is_looked_at(client, trusted, token) -> None:
    assert send(client, "nonsense", fresh()).status_code == 401
    assert post(client, URL, {"manifest": fresh()}).status_code == 401
    miner_disable(miner_id="m1")
    assert send(client, token, fresh()).status_code == 403
    assert kept() == []


def test_the_manifest_of_another_miner_is_refused_from_its_owner_s_neighbour(client, trusted, token) -> None:
    assert reason_of(send(client, register("m2"), fresh("m1"))) == "foreign_subject"


def test_a_disabled_issuer_is_not_trusted(client, trusted, token) -> None:
    ManifestIssuer.objects.update(enabled=False)
    assert reason_of(send(client, token, fresh())) == "unknown_issuer"


def test_a_key_that_was_taken_out_signs_nothing_more_and_a_new_one_does(client, trusted, token) -> None:
    new = key("ES256", "k2")
    ManifestIssuer.objects.update(jwks=jwks(key(), new))  # both for a while
    assert send(client, token, fresh()).status_code == 200
    assert send(client, token, signed(claims(jti="j2", now=clock.now()), by=new)).status_code == 200
    ManifestIssuer.objects.update(jwks=jwks(new))
    assert reason_of(send(client, token, fresh(jti="j3"))) == "unknown_key"


def test_a_jti_is_of_use_once(client, trusted, token, time) -> None:
    send(client, token, fresh())
    time.advance(10)
    assert reason_of(send(client, token, fresh(gpu_vram=96))) == "replayed"  # another manifest of the same name


def test_a_manifest_that_was_replaced_cannot_come_back(client, trusted, token, time) -> None:
    first, second = fresh(), fresh(jti="j2")
    send(client, token, first)
    send(client, token, second)
    assert reason_of(send(client, token, first)) == "replayed"
    assert send(client, token, second).status_code == 200
    assert kept() == [("j1", "replaced"), ("j2", "")]


def test_a_manifest_without_a_jti_is_of_use_once_too(client, trusted, token) -> None:
    first, second = fresh(jti=None), fresh(jti="j2")
    assert send(client, token, first).status_code == 200
    assert send(client, token, first).status_code == 200  # in force: a client that tries again
    send(client, token, second)
    assert reason_of(send(client, token, first)) == "replayed"


def test_two_issuers_may_give_the_same_jti(client, trusted, token) -> None:
    issuer(name="other", issuer="https://other.example")
    assert send(client, token, fresh()).status_code == 200
    assert send(client, token, fresh(iss="https://other.example")).status_code == 200


def test_the_same_claims_under_another_signature_are_the_same_manifest(client, trusted, token) -> None:
    """Signatures of ECDSA are never twice the same, and whoever has one can make another of it."""
    manifest, twin = fresh(jti=None), fresh(jti=None)
    assert manifest != twin
    send(client, token, manifest)
    assert reason_of(send(client, token, twin)) == "replayed"


def test_a_manifest_older_than_the_newest_is_refused(client, trusted, token, time) -> None:
    older = fresh()
    time.advance(10)
    send(client, token, fresh(jti="j2"))
    assert reason_of(send(client, token, fresh(jti="j3", iat=START + 9))) == "older"
    assert reason_of(send(client, token, older)) == "older"
    manifest_revoke(manifest=Manifest.objects.get())
    assert reason_of(send(client, token, older)) == "older"


def test_a_manifest_does_not_outlive_its_miner_s_removal(client, trusted, token) -> None:
    """Whoever enrols under the same id begins without it."""
    manifest = fresh()
    send(client, token, manifest)
    miner_remove(miner_id="m1")
    again = register(gpu_vram=6)
    assert view().row.attested_until == 0
    assert reason_of(send(client, again, manifest)) == "replayed"
    assert kept() == [("j1", "")]


@pytest.mark.parametrize("distinct", [True, False])
def test_of_many_at_once_one_is_in_force(trusted, token, distinct) -> None:
    manifests = [fresh(jti=f"j{i}" if distinct else "j1", gpu_count=i) for i in range(8)]
    replies = at_once([lambda client, each=each: send(client, token, each) for each in manifests])
    in_force = Manifest.objects.filter(ended_at=None)
    assert in_force.count() == 1
    assert Counter(each.status_code for each in replies) == ({200: 8} if distinct else {200: 1, 422: 7})
    assert Manifest.objects.count() == (8 if distinct else 1)
    assert view().row.attested.gpu_count == in_force.get().values["gpu_count"]


def test_many_are_too_many(client, settings, trusted, token) -> None:
    settings.RATELIMIT_ENABLE = True
    settings.RATELIMIT_REGISTER = "3/h"
    replies = [send(client, token, "x") for _ in range(4)]
    assert [each.status_code for each in replies] == [422, 422, 422, 429]


# ---- revoked


def test_a_revoked_manifest_is_over_at_once_and_for_good(client, trusted, token) -> None:
    manifest = fresh()
    send(client, token, manifest)
    manifest_revoke(manifest=Manifest.objects.get())
    assert found(client, attested=True) == []
    assert view().row.attested_until == 0
    assert found(client, gpu_models=["gtx"]) == ["m1"]
    assert reason_of(send(client, token, manifest)) == "revoked"
    with pytest.raises(Conflict):
        manifest_revoke(manifest=Manifest.objects.get())
    assert send(client, token, fresh(jti="j2")).status_code == 200


def test_a_manifest_that_is_over_or_whose_miner_is_gone_cannot_be_revoked(trusted, token, time) -> None:
    accept(token, fresh())
    time.advance(3600)
    with pytest.raises(Conflict):
        manifest_revoke(manifest=Manifest.objects.get())
    miner_remove(miner_id="m1")
    with pytest.raises(NotFound):
        manifest_revoke(manifest=Manifest.objects.get())


def test_all_manifests_of_an_issuer_are_revoked_and_no_others(trusted, token, time, monkeypatch) -> None:
    other = issuer(name="other", issuer="https://other.example")
    for number in range(1, 4):
        accept(register(f"m{number}"), fresh(f"m{number}", jti=f"j{number}"))
    accept(register("m4"), fresh("m4", iss=other.issuer))
    monkeypatch.setattr("miners.services.manifests.REVOKE_COUNT", 2)
    assert manifests_revoke_of(issuer=trusted) == (2, 1)
    assert manifests_revoke_of(issuer=trusted) == (1, 0)
    assert [view(f"m{number}").row.attested_until for number in range(1, 5)] == [0, 0, 0, START + 3600]


# ---- kept


def test_what_has_been_over_for_long_is_deleted(trusted, token, time) -> None:
    accept(token, fresh())
    time.advance(3600 + KEEP.total_seconds())
    accept(register(), fresh(jti="j2"))
    assert manifests_purge() == 0
    time.advance(1)
    assert manifests_purge() == 1
    assert [jti for jti, _ in kept()] == ["j2"]
