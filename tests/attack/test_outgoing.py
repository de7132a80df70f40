"""What others can have the hub call, and what they can answer it."""

import ast
import gzip
import socket
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from matching.peers.asking import Peers
from poolhub.common.outbound import Client, OutboundError, RefusedAddress
from tests.docs.pages import ROOT
from tests.hub import LiveHub
from tests.matching.peers.test_asking import requests
from tests.receivers import Site, serving

LOOPBACK_1 = (ip_network("127.0.0.1/32"),)
METADATA = "169.254.169.254"
# The hub's own calls go through one door; beside it are the tools that are clients of a hub, and its peers, which use it.
DOORS = {"poolhub/common/outbound.py"}
THROUGH_IT = {"matching/peers/asking.py"}
TOOLS = {"poolhub/cluster.py", "poolhub/demo.py", "miners/seeding/hub.py", "miners/seeding/miner.py"}
CLIENTS = {
    "httpx",
    "httpcore",
    "requests",
    "aiohttp",
    "urllib3",
    "http.client",
    "urllib.request",
    "websockets",
    "ftplib",
}


class Names:
    """A name server under somebody else's hand: each question about the name gets the next answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.asked = 0
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            if host != "rebind.example":
                return real(host, port, *args, **kwargs)
            found = answers[min(self.asked, len(answers) - 1)]
            self.asked += 1
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def port_of(site: Site) -> int:
    return int(site.base.rpartition(":")[2])


def get(port: int) -> int:
    with Client() as client:
        return client.request("GET", f"http://rebind.example:{port}/", limit_s=5, max_bytes=1000).status


@pytest.mark.pure
def test_the_address_that_was_looked_at_is_the_one_that_is_called_whatever_the_name_says_next(
    monkeypatch, settings
) -> None:
    settings.OUTBOUND_ALLOW = LOOPBACK_1
    names = Names(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    with serving() as allowed, socket.socket() as private:
        private.bind(("127.0.0.2", port_of(allowed)))
        private.listen()
        private.settimeout(0.05)
        assert get(port_of(allowed)) == 204
        assert names.asked == 1
        with pytest.raises(RefusedAddress):  # the next call looks again, and is refused
            get(port_of(allowed))
        with pytest.raises(TimeoutError):
            private.accept()


@pytest.mark.pure
def test_of_a_name_with_several_addresses_the_private_ones_are_passed_over(monkeypatch, settings) -> None:
    settings.OUTBOUND_ALLOW = LOOPBACK_1
    Names(monkeypatch, [METADATA, "10.0.0.1", "127.0.0.1"])
    with serving() as site:
        assert get(port_of(site)) == 204
    Names(monkeypatch, [METADATA, "10.0.0.1"])
    with pytest.raises(RefusedAddress, match=METADATA):
        get(80)


@pytest.mark.pure
@pytest.mark.parametrize("address", [METADATA, "10.0.0.1", "127.0.0.2"])
def test_nor_is_a_peer_s_name_called_where_it_has_come_to_mean_something_else(monkeypatch, settings, address) -> None:
    settings.OUTBOUND_ALLOW = LOOPBACK_1
    Names(monkeypatch, [address])
    with socket.socket() as private:
        private.bind(("127.0.0.2", 0))
        private.listen()
        private.settimeout(0.05)
        peers = Peers({"us": f"http://rebind.example:{private.getsockname()[1]}"}, secret="not-for-them-0123456789")
        try:
            assert peers.ask(requests(), deadline_s=5)["us"].outcome == "failed"
        finally:
            peers.close()
        with pytest.raises(TimeoutError):
            private.accept()


@pytest.mark.pure
@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://127.0.0.1/", "unix:///run/x", "data:,x", "//host/"])
def test_what_is_no_http_is_not_called(url) -> None:
    with Client() as client, pytest.raises(OutboundError):
        client.request("GET", url, limit_s=1, max_bytes=1000)


@pytest.mark.pure
def test_a_bomb_in_an_answer_is_not_unpacked(settings) -> None:
    """20 KB that would be 20 MB: they are read as they come, and are no JSON to whoever asked."""
    settings.OUTBOUND_ALLOW = LOOPBACK_1
    bomb = gzip.compress(b" " * 20_000_000)
    with serving(lambda handler, got: handler.say(200, bomb, Content_Encoding="gzip")) as site, Client() as client:
        answer = client.request("GET", site.url(), limit_s=5, max_bytes=1_000_000)
        assert site.got[0].headers["accept-encoding"] == "identity"
    assert answer.content == bomb


def test_the_hub_never_connects_to_a_miner(live_hub: LiveHub) -> None:
    with socket.socket() as miner:
        miner.bind(("127.0.0.1", 0))
        miner.listen()
        miner.settimeout(0.2)
        port = miner.getsockname()[1]
        for name, addr in (("ssrf-1", f"127.0.0.1:{port}"), ("ssrf-2", f"http://127.0.0.1:{port}/x")):
            body = {"miner_id": name, "api_key": f"key-of-{name}-0123456789", "addr": addr, "region": "ssrf"}
            made = httpx.post(f"{live_hub.base}/v1/miners/register", json=body)
            assert made.status_code == 201, made.text
            bearer = {"Authorization": f"Bearer {made.json()['session_token']}"}
            assert httpx.post(f"{live_hub.base}/v1/miners/heartbeat", json={"queue_len": 0}, headers=bearer).is_success
            job = {"job_id": f"job-{name}", "hints": {"region": "ssrf"}, "reserve": True, "top_k": 1}
            found = httpx.post(f"{live_hub.base}/v1/match", json=job, headers=live_hub.coordinator).json()
            chosen = found["candidates"][0]["miner_id"]
            for outcome in ("accepted", "completed"):
                told = {"job_id": job["job_id"], "miner_id": chosen, "outcome": outcome}
                assert httpx.post(f"{live_hub.base}/v1/feedback", json=told, headers=live_hub.coordinator).is_success
            command = {"name": "reregister"}
            sent = httpx.post(f"{live_hub.base}/v1/miners/{name}/commands", json=command, headers=live_hub.admin)
            assert sent.status_code == 201
            assert httpx.get(f"{live_hub.base}/v1/miners/{name}", headers=live_hub.admin).json()["addr"] == addr
        with pytest.raises(TimeoutError):
            miner.accept()


def imported(path: Any) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.pure
def test_whatever_the_hub_calls_it_calls_through_the_door_that_looks_at_addresses() -> None:
    calling = set()
    for package in ("poolhub", "access", "miners", "matching", "feedback", "settlement", "market"):
        for path in (ROOT / package).rglob("*.py"):
            names = {".".join(name.split(".")[:length]) for name in imported(path) for length in (1, 2)}
            if names & CLIENTS:
                calling.add(str(path.relative_to(ROOT)))
    assert calling - TOOLS == DOORS | THROUGH_IT
    asking = (ROOT / "matching/peers/asking.py").read_text()
    assert asking.count("httpx.AsyncClient(") == asking.count("transport=AsyncTransport(") == 1
