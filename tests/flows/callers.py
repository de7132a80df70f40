"""Who calls a hub from outside: miners, a coordinator, and operators with scripts and in the admin."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from poolhub.common import clock
from tests.hub import ROOT, LiveHub, sql

PASSWORD = "an-operator-s-long-password"
TIMEOUT_S = 20


class Miner:
    def __init__(self, hub: LiveHub, miner_id: str, **profile: Any) -> None:
        self.hub, self.miner_id = hub, miner_id
        self.profile = {
            "miner_id": miner_id,
            "api_key": f"key-of-{miner_id}-0123456789",
            "addr": "10.0.0.1:9000",
            **profile,
        }
        self.token = ""

    def post(self, path: str, body: Any = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.post(f"{self.hub.base}/v1/miners/{path}", json=body, headers=headers, timeout=TIMEOUT_S)

    def register(self) -> int:
        reply = httpx.post(f"{self.hub.base}/v1/miners/register", json=self.profile, timeout=TIMEOUT_S)
        assert reply.is_success, reply.text
        self.token = reply.json()["session_token"]
        return reply.status_code

    @contextmanager
    def socket(self) -> Iterator[ClientConnection]:
        headers = {"Authorization": f"Bearer {self.token}"}
        with connect(f"{self.hub.ws_base}/v1/miners/heartbeat", additional_headers=headers) as made:
            assert json.loads(made.recv(timeout=TIMEOUT_S))["type"] == "welcome"
            yield made

    def beat(self, made: ClientConnection, **report: Any) -> None:
        """A heartbeat, and its acknowledgement."""
        ts = clock.to_rfc3339(clock.now())
        made.send(json.dumps({"ts": ts, "queue_len": 0, "ack": True, **report}))
        assert json.loads(made.recv(timeout=TIMEOUT_S)) == {"type": "ack", "ts": ts}


class Coordinator:
    def __init__(self, hub: LiveHub) -> None:
        self.hub = hub

    def post(self, path: str, body: Any) -> Any:
        reply = httpx.post(f"{self.hub.base}/v1/{path}", json=body, headers=self.hub.coordinator, timeout=TIMEOUT_S)
        assert reply.is_success, reply.text
        return reply.json()

    def match(self, job_id: str, region: str, **fields: Any) -> Any:
        return self.post("match", {"job_id": job_id, "hints": {"region": region}, "top_k": 50, **fields})

    def look(self, region: str) -> Any:
        """A match that leaves no trace."""
        return self.match("look", region, dry_run=True)

    def ranking(self, region: str) -> list[str]:
        return [each["miner_id"] for each in self.look(region)["candidates"]]

    def components(self, region: str, name: str) -> dict[str, float]:
        return {each["miner_id"]: each["components"][name] for each in self.look(region)["candidates"]}

    def feedback(self, job_id: str, miner_id: str, outcome: str, **fields: Any) -> float:
        """The miner's trust afterwards."""
        return self.post("feedback", {"job_id": job_id, "miner_id": miner_id, "outcome": outcome, **fields})[
            "trust_score"
        ]


class Operator:
    def __init__(self, hub: LiveHub) -> None:
        self.hub = hub

    def miner(self, miner_id: str) -> Any:
        reply = httpx.get(f"{self.hub.base}/v1/miners/{miner_id}", headers=self.hub.admin, timeout=TIMEOUT_S)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def command(self, miner_id: str, name: str, **args: Any) -> None:
        url = f"{self.hub.base}/v1/miners/{miner_id}/commands"
        reply = httpx.post(url, json={"name": name, "args": args}, headers=self.hub.admin, timeout=TIMEOUT_S)
        assert reply.status_code == 201, reply.text


class AdminSession:
    """Logged into the admin, with forms sent as a browser sends them."""

    def __init__(self, hub: LiveHub) -> None:
        self.hub = hub
        create = ("createsuperuser", "--noinput", "--username", "op", "--email", "op@example.com", "--verbosity", "0")
        env = {**hub.env, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        subprocess.run([sys.executable, ROOT / "manage.py", *create], env=env, check=True, timeout=60)
        self._browser = httpx.Client(base_url=hub.base, follow_redirects=True, timeout=TIMEOUT_S)
        self._browser.get("/admin/login/")
        assert self._post("/admin/login/", username="op", password=PASSWORD, next="/admin/").url.path == "/admin/"

    def act(self, action: str, *miner_ids: str, **fields: str) -> str:
        """An action on miners, confirmed; the page that it leads to."""
        known = dict(sql(self.hub.env["DB_DSN"], "SELECT miner_id, id FROM miners_miner"))
        rows = [str(known[each]) for each in miner_ids]
        return self._post("/admin/miners/miner/", action=action, _selected_action=rows, confirmed="yes", **fields).text

    def close(self) -> None:
        self._browser.close()

    def _post(self, path: str, **fields: Any) -> httpx.Response:
        form = {**fields, "csrfmiddlewaretoken": self._browser.cookies["poolhub_csrf"]}
        reply = self._browser.post(path, data=form, headers={"Referer": f"{self.hub.base}{path}"})
        assert reply.status_code == 200, reply.text
        return reply
