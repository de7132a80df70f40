"""Miners for tests: what they send, and the shortest way to have one."""

from typing import Any

from django.test import Client

from miners.models import Miner
from miners.profile import registered_profile
from miners.registry.records import MinerView
from miners.registry.runtime import get_registry
from miners.serializers import RegisterRequest
from miners.services.registration import miner_register
from poolhub.common import clock

ADMIN = {"X-Admin-Secret": "admin-secret-for-tests"}


def key_of(miner_id: str) -> str:
    return f"key-of-{miner_id}-0123456789"


def body(miner_id: str = "m1", **fields: Any) -> dict[str, Any]:
    return {"miner_id": miner_id, "api_key": key_of(miner_id), "addr": "10.1.2.3:9000", **fields}


def register(miner_id: str = "m1", *, key: str | None = None, **fields: Any) -> str:
    """Register through the service; the session token."""
    asked = RegisterRequest(miner_id=miner_id, api_key=key or key_of(miner_id), addr="10.1.2.3:9000", **fields)
    done = miner_register(miner_id=miner_id, api_key=asked.api_key, profile=registered_profile(asked), now=clock.now())
    return done.token


def view(miner_id: str = "m1") -> MinerView:
    found = get_registry().get(miner_id, now=clock.now())
    assert found is not None
    return found


def stored(miner_id: str = "m1") -> Miner:
    return Miner.objects.get(miner_id=miner_id)


def post(client: Client, path: str, sent: Any = None, *, token: str | None = None, **headers: str) -> Any:
    """POST JSON, as a miner with this token (or key) in its header."""
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    content = {} if sent is None else {"data": sent, "content_type": "application/json"}
    return client.post(path, headers=headers, **content)


def fields_of(reply: Any) -> set[str]:
    """The fields that a 422 names."""
    assert reply.status_code == 422, reply.content
    return {error["field"] for error in reply.json()["errors"]}
