"""Through nginx, as deploy/nginx.conf has it: in the cluster without TLS, and beside it with TLS."""

import dataclasses
import json
import re
import socket
import ssl
import time
from contextlib import suppress
from ipaddress import ip_network
from threading import Thread

import httpx
import pytest
from websockets.sync.client import connect

from poolhub import nginx
from poolhub.devservers import free_port
from tests.multiprocess.test_cluster import beat, closed_with
from tests.nginx import certificate, running

pytestmark = pytest.mark.cluster
MAX_BODY = 262_144
SLOW_S = 10  # the time-outs of deploy/nginx.conf for headers and for bodies


@pytest.fixture
def front(cluster):
    with httpx.Client(base_url=cluster.front, timeout=30) as client:
        yield client


def site_of(cluster, **fields) -> nginx.Site:
    rest, *sockets = (f"127.0.0.1:{port}" for port in (cluster.ports.rest, *cluster.ports.sockets))
    return nginx.Site(rest=rest, sockets=tuple(sockets), max_body_bytes=MAX_BODY, access_log="off", **fields)


def test_rest_and_the_admin_are_reached(cluster, front) -> None:
    cluster.register("fronted", base=cluster.front, region="fronted")
    body = {"job_id": "j", "hints": {"region": "fronted"}, "dry_run": True}
    found = front.post("/v1/match", json=body, headers=cluster.coordinator).json()
    assert [each["miner_id"] for each in found["candidates"]] == ["fronted"]
    page = front.get("/admin/login/")
    assert page.status_code == 200
    styles = re.findall(r'href="([^"]+\.css[^"]*)"', page.text)
    assert front.get(styles[0]).headers["Content-Type"].startswith("text/css")


def test_sockets_and_plain_requests_to_the_same_path_are_told_apart(cluster, front) -> None:
    token = cluster.register("both-ways")
    with cluster.socket(cluster.front.replace("http", "ws"), token) as opened:
        opened.send(beat(queue_len=1, ack=True))
        assert json.loads(opened.recv(timeout=10))["type"] == "ack"
    for path in ("/v1/miners/heartbeat", "/v1/miners/heartbeat/"):
        reply = front.post(path, json={"queue_len": 2}, headers={"Authorization": f"Bearer {token}"})
        assert reply.status_code == 200, reply.text
    with connect(f"{cluster.front.replace('http', 'ws')}/v1/miners/heartbeat?session_token=wrong") as refused:
        assert closed_with(refused) == 4401


def test_a_body_over_the_limit_is_413_before_it_is_read(front) -> None:
    def chunks():
        yield from [b" " * 65_536] * 5

    sent = {"Content-Type": "application/json", "X-Request-ID": "mine"}
    for content in (b" " * (MAX_BODY + 1), chunks()):
        reply = front.post("/v1/match", content=content, headers=sent)
        assert (reply.status_code, reply.headers["Content-Type"]) == (413, "application/problem+json")
        told = reply.json()
        assert (told["status"], told["code"], told["title"]) == (413, "body_too_large", "Request Entity Too Large")
        assert told["request_id"] == reply.headers["X-Request-ID"]
        assert str(MAX_BODY) in told["detail"]


def test_a_large_body_that_is_refused_unread_still_gets_its_answer(front) -> None:
    for _ in range(20):
        reply = front.post("/v1/match", content=b" " * MAX_BODY, headers={"Content-Type": "application/json"})
        assert reply.status_code == 401, reply.text


def test_a_chunked_body_within_the_limit_reaches_the_hub_with_its_length(cluster, front) -> None:
    body = {"miner_id": "chunked", "api_key": "key-0123456789abcdef", "addr": "h:1"}
    content = iter([json.dumps(body).encode()])
    reply = front.post("/v1/miners/register", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 201, reply.text


def test_the_client_s_word_for_its_address_is_overwritten(cluster) -> None:
    """ADMIN_ALLOWLIST is 127.0.0.1, and so is nginx, which the hub trusts."""
    forged = {**cluster.admin, "X-Forwarded-For": "203.0.113.7"}
    assert httpx.get(f"{cluster.base}/v1/miners", headers=forged).status_code == 403  # no nginx in between
    assert httpx.get(f"{cluster.front}/v1/miners", headers=forged).status_code == 200
    for name in ("X-Real-IP", "Forwarded", "Daphne-Root-Path"):
        assert httpx.get(f"{cluster.front}/v1/miners", headers={**cluster.admin, name: "/203"}).status_code == 200


def test_allowlists_stop_others_at_the_door(cluster, tmp_path) -> None:
    elsewhere = (ip_network("203.0.113.0/24"),)
    site = site_of(
        cluster,
        plain_listen=f"127.0.0.1:{(port := free_port())}",
        coordinator_allowlist=elsewhere,
        admin_allowlist=elsewhere,
    )
    with running(site, tmp_path):
        base = f"http://127.0.0.1:{port}"
        closed = (
            "/v1/match",
            "/v1/match/batch",
            "/v1/match/stream",
            "/v1/feedback",
            "/v1/reservations/",
            "/v1/metrics",
        )
        for path in (*closed, "/admin/"):
            reply = httpx.get(base + path, headers={**cluster.coordinator, **cluster.admin})
            assert reply.status_code == 403, path
            assert reply.json()["code"] == "address_not_allowed"
        assert httpx.get(f"{base}/v1/health").status_code == 200
        cluster.register("from-anywhere", base=base)


def test_over_tls(cluster, tmp_path) -> None:
    tls = dataclasses.replace(certificate(tmp_path), port=free_port(), redirect_port=free_port())
    trust = ssl.create_default_context(cafile=tls.certificate)
    with running(site_of(cluster, server_name="localhost", certificate=tls), tmp_path):
        base = f"https://localhost:{tls.port}"
        redirected = httpx.get(f"http://localhost:{tls.redirect_port}/v1/health?a=b")
        assert (redirected.status_code, redirected.headers["Location"]) == (308, f"{base}/v1/health?a=b")
        assert httpx.get(f"{base}/v1/health", verify=trust).status_code == 200
        token = cluster.register("over-tls")
        headers = {"Authorization": f"Bearer {token}"}
        with connect(
            f"wss://localhost:{tls.port}/v1/miners/heartbeat", ssl=trust, additional_headers=headers
        ) as opened:
            assert json.loads(opened.recv(timeout=10))["type"] == "welcome"
        plain = httpx.get(f"http://localhost:{tls.port}/v1/health")  # the wrong protocol for this port
        assert (plain.status_code, plain.json()["code"]) == (400, "bad_request")


def test_slow_clients_are_dropped(cluster) -> None:
    """One that never ends its header, and one that never ends its body."""
    head = "POST /v1/match HTTP/1.1\r\nHost: localhost\r\n"
    lasted: list[float] = []

    def dawdle(sent: str) -> None:
        with socket.create_connection(("127.0.0.1", cluster.ports.nginx), timeout=SLOW_S + 10) as raw:
            began = time.monotonic()
            raw.sendall(sent.encode())
            with suppress(ConnectionResetError):
                while raw.recv(4096):
                    pass
            lasted.append(time.monotonic() - began)

    slow = [Thread(target=dawdle, args=(sent,)) for sent in (head, f"{head}Content-Length: 9\r\n\r\n123")]
    for thread in slow:
        thread.start()
    for thread in slow:
        thread.join()
    assert len(lasted) == 2
    assert all(SLOW_S - 1 < each < SLOW_S + 5 for each in lasted)
