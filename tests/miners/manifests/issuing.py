"""Issuers in the database, and manifests that are sent."""

from typing import Any

from django.test import Client

from miners.authentication import Session, session_read
from miners.models import Manifest, ManifestIssuer
from miners.services.manifests import Accepted, manifest_accept
from poolhub.common import clock
from tests.miners.builders import post
from tests.miners.manifests.builders import ISSUER, claims, jwks, signed

URL = "/v1/miners/manifest"


def issuer(**fields: Any) -> ManifestIssuer:
    return ManifestIssuer.objects.create(**{"name": "tests", "issuer": ISSUER, "jwks": jwks(), **fields})


def fresh(miner_id: str = "m1", **changes: Any) -> str:
    """A manifest that was signed just now."""
    return signed(claims(miner_id, now=clock.now(), **changes))


def session_of(token: str) -> Session:
    found = session_read(token)
    assert found is not None
    return found


def accept(session_token: str, manifest: str) -> Accepted:
    return manifest_accept(session=session_of(session_token), token=manifest, now=clock.now())


def send(client: Client, session_token: str, manifest: Any) -> Any:
    return post(client, URL, {"manifest": manifest}, token=session_token)


def reason_of(reply: Any) -> str:
    """Of a refusal."""
    assert reply.status_code == 422, reply.content
    found = reply.json()
    assert [each["field"] for each in found["errors"]] == ["manifest"]
    assert found["code"] == found["errors"][0]["code"]
    return str(found["code"])


def kept() -> list[tuple[str, str]]:
    """(jti, how it ended) of all that were accepted, in their order."""
    return list(Manifest.objects.order_by("pk").values_list("jti", "ended_by"))
