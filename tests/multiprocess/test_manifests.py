"""An attestation begins, ends by itself and is revoked in every process of a cluster alike; keys come from the worker."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.hub import ROOT
from tests.miners.manifests.builders import ISSUER, claims, jwks, key, signed
from tests.multiprocess.cluster import RunningCluster, Worker, both_workers, running_cluster
from tests.receivers import serving
from tests.waiting import until

pytestmark = pytest.mark.cluster
SEEN_S = 1.0  # contract, section 2
SOON_S = 30.0  # the worker's next look at issuers


@pytest.fixture(scope="module")
def hub(tmp_path_factory, databases) -> Iterator[RunningCluster]:
    """A cluster whose database the test can reach, with an issuer that publishes its keys."""
    keys = json.dumps(jwks(key("ES384"))).encode()
    folder = tmp_path_factory.mktemp("cluster")
    with (
        serving(lambda handler, got: handler.say(200, keys)) as site,
        running_cluster(folder, **databases, OUTBOUND_ALLOW="127.0.0.1") as started,
    ):
        manage(started, f"ManifestIssuer.objects.create(name='x', issuer={ISSUER!r}, jwks_url={site.url('/keys')!r})")
        yield started


def manage(hub: RunningCluster, code: str) -> None:
    imports = "from miners.models import *; from miners.services.manifests import *; "
    command = [sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c", imports + code]
    done = subprocess.run(command, env=hub.env, timeout=60, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def workers(hub) -> Iterator[tuple[Worker, Worker]]:
    with both_workers(hub) as both:
        yield both


@pytest.fixture
def attested(hub, workers) -> Callable[[str], list[list[str]]]:
    """Who is attested with 80 GB in a region, as every process that matches has it: REST workers, then socket processes."""

    def ask(region: str) -> list[list[str]]:
        body = {
            "job_id": "j", "dry_run": True, "top_k": 50, "hints": {"region": region},
            "requirements": {"attested": True, "min_vram_gb": 80, "capabilities_all": ["vouched"]},
        }  # fmt: skip
        replies = [worker.match(**body) for worker in workers]
        for port in hub.ports.sockets:
            url = f"http://127.0.0.1:{port}/v1/match"
            replies.append(httpx.post(url, json=body, headers=hub.coordinator, timeout=10).json())
        return [[each["miner_id"] for each in reply["candidates"]] for reply in replies]

    return ask


def send(worker: Worker, token: str, manifest: str) -> tuple[int, Any]:
    status, text = worker.ask("POST", "/v1/miners/manifest", {"manifest": manifest}, Authorization=f"Bearer {token}")
    return status, json.loads(text)


def fresh(miner_id: str, *, lifetime_s: float = 600, **changes: Any) -> str:
    now = time.time()
    given = claims(miner_id, now=now, exp=now + lifetime_s, jti=miner_id, capabilities=["vouched"], **changes)
    return signed(given, by=key("ES384"), algorithm="ES384")


@pytest.fixture(autouse=True)
def keys_are_there(hub, workers) -> None:
    """The worker has fetched them."""
    token = hub.register("waits")

    def known() -> bool:
        status, answer = send(workers[0], token, fresh("waits"))
        assert status == 200 or answer["code"] in ("unknown_key", "replayed", "too_many_requests"), answer
        return answer.get("code") not in ("unknown_key", "too_many_requests")

    until(known, SOON_S, "the worker fetches the keys")


def test_an_attestation_ends_by_itself_in_every_process(hub, workers, attested) -> None:
    token = hub.register("ends", region="ends", gpu_vram=8)
    manifest = fresh("ends", lifetime_s=4)
    status, answer = send(workers[0], token, manifest)
    assert status == 200, answer
    assert workers[0].match(requirements={"attested": True}, hints={"region": "ends"})["eligible"] == 1
    until(lambda: attested("ends") == [["ends"]] * 4, SEEN_S, "attested in every process")
    over_at = time.time() + 4
    # what it claims meanwhile is for later
    body = {"capabilities": ["own"]}
    assert workers[1].ask("POST", "/v1/miners/update", body, Authorization=f"Bearer {token}")[0] == 200
    assert attested("ends") == [["ends"]] * 4
    until(lambda: attested("ends") == [[]] * 4, 4 + SEEN_S, "over in every process")
    assert time.time() < over_at + SEEN_S
    wanted = {"requirements": {"capabilities_all": ["own"]}, "hints": {"region": "ends"}}
    assert [worker.match(**wanted)["eligible"] for worker in workers] == [1, 1]
    assert [
        worker.match(requirements={"min_vram_gb": 9}, hints={"region": "ends"})["eligible"] for worker in workers
    ] == [0, 0]


def test_a_revocation_holds_at_once_in_every_process_and_no_process_takes_the_manifest_again(
    hub, workers, attested
) -> None:
    token, manifest = hub.register("revoked", region="revoked"), fresh("revoked")
    assert send(workers[0], token, manifest)[0] == 200
    until(lambda: attested("revoked") == [["revoked"]] * 4, SEEN_S, "attested in every process")
    manage(hub, "manifest_revoke(manifest=Manifest.objects.select_related('miner', 'issuer').get(jti='revoked'))")
    until(lambda: attested("revoked") == [[]] * 4, SEEN_S, "revoked in every process")
    for worker in workers:
        assert send(worker, token, manifest)[1]["code"] == "revoked"


def test_a_manifest_is_of_use_once_whichever_process_is_asked(hub, workers) -> None:
    token, first = hub.register("once"), fresh("once")
    assert send(workers[0], token, first)[0] == 200
    assert send(workers[1], token, first)[0] == 200  # in force: the same answer
    assert send(workers[1], token, fresh("once", gpu_vram=81))[1]["code"] == "replayed"


def test_a_disabled_issuer_is_disabled_in_every_process(hub, workers) -> None:
    token = hub.register("disabled")
    manage(hub, "ManifestIssuer.objects.update(enabled=False)")
    try:
        assert [send(worker, token, fresh("disabled"))[1]["code"] for worker in workers] == ["unknown_issuer"] * 2
    finally:
        manage(hub, "ManifestIssuer.objects.update(enabled=True)")
