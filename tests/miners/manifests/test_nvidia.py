"""An issuer of NVIDIA's kind is configuration: tokens of that form, ES384 with a JWK Set, and the page's own examples."""

import hashlib
import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from miners.models import ManifestIssuer
from miners.services.issuers import keys_refresh
from tests.docs.pages import text_of
from tests.miners.builders import register, view
from tests.miners.manifests.builders import NOW, jwks, key, signed
from tests.miners.manifests.issuing import reason_of, send
from tests.operators import superuser
from tests.receivers import serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("time")]

ISS = "https://nras.attestation.nvidia.com"
KID = "nv-eat-kid-test"
PAGE = text_of(Path("docs/manifests.md"))
NONCE = hashlib.sha256(b"my-miner").hexdigest()


def example(name: str) -> Any:
    found = re.search(rf"^```json {name}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return json.loads(found[1])


def add(kind: str, **changes: Any) -> None:
    sent = {
        "name": "NVIDIA", "issuer": ISS, "enabled": "on", "jwks": "", "jwks_url": f"{ISS}/.well-known/jwks.json",
        "refresh_s": "3600", "algorithms": ["ES384"], "leeway_s": "60", "max_lifetime_s": "86400", "audience": "",
        "subject_claim": "eat_nonce", "subject_form": "sha256", "mapping": json.dumps(example(f"nvidia-{kind}-mapping")),
        "required": json.dumps(example(f"nvidia-{kind}-required")), **changes,
    }  # fmt: skip
    superuser().post("/admin/miners/manifestissuer/add/", sent)
    ManifestIssuer.objects.get()


def nras(**claims: Any) -> str:
    common = {"iss": ISS, "iat": NOW, "nbf": NOW - 120, "exp": NOW + 3600, "eat_nonce": NONCE}
    return signed({**common, **claims}, by=key("ES384", KID), algorithm="ES384")


def gpu(number: int = 0, **changes: Any) -> str:
    return nras(
        **{
            "jti": f"gpu-{number}", "measres": "success", "dbgstat": "disabled", "secboot": True, "oemid": "5703",
            "hwmodel": "GH100 A01 GSP BROM", "ueid": "642960189298007511250958030500749152730221142468",
            "x-nvidia-gpu-driver-version": "550.90.07", "x-nvidia-gpu-arch-check": True,
            "x-nvidia-gpu-attestation-report-signature-verified": True,
            "x-nvidia-gpu-attestation-report-nonce-match": True, "x-nvidia-attestation-warning": None, **changes,
        }
    )  # fmt: skip


def overall(count: int = 2, **changes: Any) -> str:
    devices = {f"GPU-{number}": gpu(number) for number in range(count)}
    digests = {
        name: ["DIGEST", ["SHA-256", hashlib.sha256(token.encode()).hexdigest()]] for name, token in devices.items()
    }
    claims = {
        "jti": "overall", "sub": "NVIDIA-PLATFORM-ATTESTATION", "x-nvidia-ver": "3.0", "x-nvidia-overall-att-result": True,
        "submods": digests, **changes,
    }  # fmt: skip
    return nras(**claims)


@pytest.fixture
def token() -> str:
    return register("my-miner", gpu_name="H100", gpu_count=1)


def trust_keys(*keys: Any) -> None:
    ManifestIssuer.objects.update(jwks=jwks(*(keys or (key("ES384", KID),))))


def test_the_overall_token_attests_that_all_gpus_passed_and_how_many_they_are(client, token) -> None:
    add("overall")
    trust_keys()
    reply = send(client, token, overall(8))
    assert reply.status_code == 200, reply.content
    assert reply.json()["values"] == {"gpu_count": 8}
    assert view("my-miner").row.covered().gpu_count == 8


def test_the_token_of_one_gpu_attests_its_model(client, token) -> None:
    add("gpu")
    trust_keys()
    reply = send(client, token, gpu())
    assert reply.status_code == 200, reply.content
    assert reply.json()["values"] == {"gpu_name": "GH100 A01 GSP BROM"}


@pytest.mark.parametrize("result", [False, "true", None])
def test_an_overall_result_that_is_not_true_is_refused(client, token, result) -> None:
    add("overall")
    trust_keys()
    assert reason_of(send(client, token, overall(**{"x-nvidia-overall-att-result": result}))) == "unmet_requirement"


@pytest.mark.parametrize("name", sorted(example("nvidia-gpu-required")))
def test_a_gpu_that_failed_one_of_the_checks_is_refused(client, token, name) -> None:
    add("gpu")
    trust_keys()
    for value in (None, False, "fail"):
        assert reason_of(send(client, token, gpu(**{name: value}))) == "unmet_requirement"


def test_the_token_of_a_gpu_does_not_pass_for_an_overall_one_nor_the_other_way_round(client, token) -> None:
    add("overall")
    trust_keys()
    assert reason_of(send(client, token, gpu())) == "unmet_requirement"
    ManifestIssuer.objects.update(required=example("nvidia-gpu-required"), mapping=example("nvidia-gpu-mapping"))
    assert reason_of(send(client, token, overall())) == "unmet_requirement"


@pytest.mark.parametrize("nonce", ["00" * 32, hashlib.sha256(b"other").hexdigest(), "my-miner", 1])
def test_a_nonce_that_is_not_the_miner_s_is_refused(client, token, nonce) -> None:
    add("overall")
    trust_keys()
    assert reason_of(send(client, token, overall(eat_nonce=nonce))) == "foreign_subject"


def test_a_bundle_of_tokens_is_not_one_of_them(client, token) -> None:
    add("overall")
    trust_keys()
    bundle = json.dumps([["JWT", overall()], {"GPU-0": gpu()}])
    assert reason_of(send(client, token, bundle)) == "malformed"


def test_its_keys_are_fetched_and_follow_its_rotation(client: Client, token, settings, time) -> None:
    settings.OUTBOUND_ALLOW = (ip_network("127.0.0.1"),)
    published = {"keys": [{"kty": "RSA", "kid": "other", "n": "AQ", "e": "AQAB"}, *jwks(key("ES384", KID))["keys"]]}
    with serving(lambda handler, got: handler.say(200, json.dumps(published).encode())) as site:
        add("overall", jwks_url=site.url("/.well-known/jwks.json"))
        assert keys_refresh() == 1
        assert send(client, token, overall()).status_code == 200
        published["keys"] = jwks(key("ES384", "nv-eat-kid-next"))["keys"]
        time.advance(3600)
        assert keys_refresh() == 1
    assert (
        reason_of(send(client, register("my-miner"), overall(jti="old", exp=NOW + 9000, iat=NOW + 1))) == "unknown_key"
    )
