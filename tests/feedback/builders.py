"""What coordinators tell, and what comes of it."""

from typing import Any

from django.test import Client

from tests.matching.builders import COORDINATOR

URL = "/v1/feedback"


def send(outcome: str, miner_id: str = "m1", job_id: str = "j1", **more: Any) -> Any:
    body = {"job_id": job_id, "miner_id": miner_id, "outcome": outcome, **more}
    return Client().post(URL, body, content_type="application/json", headers=COORDINATOR)


def tell(outcome: str, miner_id: str = "m1", job_id: str = "j1", **more: Any) -> float:
    """The trust after feedback that was new."""
    reply = send(outcome, miner_id, job_id, **more)
    assert reply.status_code == 201, reply.content
    return reply.json()["trust_score"]
