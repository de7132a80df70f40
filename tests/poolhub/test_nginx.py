"""deploy/nginx.conf, filled in and checked by nginx itself. tests/multiprocess runs through it."""

import dataclasses
import os
import re
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import httpx
import pytest

from poolhub import nginx
from poolhub.devservers import free_port
from tests.hub import ROOT, hub_environment
from tests.nginx import certificate, complaints, running
from tests.waiting import until

pytestmark = pytest.mark.pure
SITE = nginx.Site(
    rest="127.0.0.1:8203", sockets=("127.0.0.1:8204", "[::1]:8205"), max_body_bytes=262_144, access_log="off"
)


def plain(**fields) -> nginx.Site:
    return dataclasses.replace(SITE, plain_listen="127.0.0.1:8213", **fields)


@pytest.mark.parametrize("networks", [(), (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))])
def test_nginx_finds_it_good(tmp_path, networks) -> None:
    lists = {"coordinator_allowlist": networks, "admin_allowlist": networks}
    assert complaints(plain(**lists), tmp_path) == ""
    tls = dataclasses.replace(certificate(tmp_path), port=8443, redirect_port=8080)
    assert (
        complaints(dataclasses.replace(SITE, server_name="a.example b.example", certificate=tls, **lists), tmp_path)
        == ""
    )


def test_nothing_is_left_to_fill_in() -> None:
    tls = nginx.Certificate("/c.pem", "/k.pem")
    for site in (plain(), dataclasses.replace(SITE, certificate=tls)):
        assert re.findall("@[a-z_]+@", nginx.rendered(site)) == []
    assert "ssl" not in nginx.rendered(plain())
    assert "listen 443 ssl" in nginx.rendered(dataclasses.replace(SITE, certificate=tls))


def test_with_nobody_behind_it_answers_503_as_the_hub_would(tmp_path) -> None:
    port = free_port()
    site = plain(rest=f"127.0.0.1:{free_port()}", sockets=(f"127.0.0.1:{free_port()}",))
    with running(dataclasses.replace(site, plain_listen=f"127.0.0.1:{port}"), tmp_path):
        for headers in ({}, {"Connection": "Upgrade", "Upgrade": "websocket"}):
            reply = httpx.get(f"http://127.0.0.1:{port}/v1/miners/heartbeat", headers=headers)
            assert (reply.status_code, reply.headers["Retry-After"]) == (503, "2")
            assert reply.headers["Content-Type"] == "application/problem+json"
            told = reply.json()
            assert set(told) == {"type", "title", "status", "detail", "code", "request_id"}
            assert (told["status"], told["title"], told["code"]) == (503, "Service Unavailable", "unavailable")


def test_connections_of_one_address_are_bounded(tmp_path) -> None:
    port = free_port()
    site = plain(rest=f"127.0.0.1:{free_port()}", connections_per_address=1)
    site = dataclasses.replace(site, plain_listen=f"127.0.0.1:{port}")
    sent = {"url": f"http://127.0.0.1:{port}/", "content": waiting(port)}
    with running(site, tmp_path), httpx.stream("POST", **sent) as first:
        assert first.status_code == 503  # it came first, and met nobody behind


def waiting(port: int):
    """A body that looks, before it ends, what a second connection is told."""
    yield b"["
    second = httpx.get(f"http://127.0.0.1:{port}/")
    assert (second.status_code, second.json()["code"]) == (429, "too_many_requests")
    assert second.headers["Retry-After"] == "5"
    yield b"]"


def test_the_command_fills_it_in_from_the_settings() -> None:
    env = hub_environment(
        "sqlite:///unused", 9000, MAX_BODY_BYTES="70000", ADMIN_ALLOWLIST="192.0.2.10", COORDINATOR_ALLOWLIST="",
    )  # fmt: skip
    options = ["--server-name", "hub.example.com", "--certificate", "/c.pem", "--key", "/k.pem", "--sockets", "3"]
    options += ["--rest-workers", "4"]
    command = [sys.executable, "manage.py", "nginx_config", *options]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    for port in (9001, 9002, 9003):
        assert f"    server 127.0.0.1:{port} max_fails=1" in done.stdout
    assert "    server 127.0.0.1:9000 max_fails=0;" in done.stdout
    assert "client_max_body_size 70000;" in done.stdout
    assert done.stdout.count("allow 192.0.2.10/32; deny all;") == 1
    assert done.stdout.count("from anywhere") == 3
    assert "limit_conn poolhub_matches 720;" in done.stdout
    assert os.fspath(ROOT) not in done.stdout


def test_an_nginx_of_its_own_holds_as_many_connections_as_its_files_allow(tmp_path, monkeypatch) -> None:
    text = nginx.standalone(tmp_path / "site.conf", tmp_path)
    found = re.search(r"worker_rlimit_nofile (\d+);\nevents { worker_connections (\d+); }", text)
    assert found is not None
    assert found[1] == found[2] == str(min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], nginx.MAX_FILES))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert nginx.open_files() == nginx.MAX_FILES


def test_matches_beyond_what_the_workers_have_places_for_are_refused_at_once(tmp_path) -> None:
    """Of whoever brings the same secret: a stranger, and whatever else the coordinator asks, goes through."""
    busy, port = threading.Event(), free_port()
    asked = 0

    class Rest(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal asked
            asked += 1
            if self.path == "/v1/match" and self.headers["X-Job"] == "slow":
                busy.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Rest) as rest, ThreadPoolExecutor(1) as threads:
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        site = plain(rest=f"127.0.0.1:{rest.server_port}", matches_at_once=1)
        site = dataclasses.replace(site, plain_listen=f"127.0.0.1:{port}")

        def post(path: str, secret: str, **headers: str) -> httpx.Response:
            named = {"X-Coordinator-Secret": secret, **headers} if secret else headers
            return httpx.post(f"http://127.0.0.1:{port}{path}", headers=named, timeout=30)

        with running(site, tmp_path):
            slow = threads.submit(post, "/v1/match", "first-secret", **{"X-Job": "slow"})
            until(lambda: asked == 1)
            for path in ("/v1/match", "/v1/match/batch"):
                refused = post(path, "first-secret")
                assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
                assert refused.headers["Retry-After"] == "2"
                assert refused.headers["Content-Type"] == "application/problem+json"
            for path, secret in (("/v1/match", "other-secret"), ("/v1/match", ""), ("/v1/feedback", "first-secret")):
                assert post(path, secret).status_code == 200, path
            busy.set()
            assert slow.result().status_code == 200
            assert post("/v1/match", "first-secret").status_code == 200
        rest.shutdown()
