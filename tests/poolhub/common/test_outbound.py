"""Requests that the hub makes itself, to real sockets."""

import socket
import time
from ipaddress import ip_network

import pytest

from poolhub.common import outbound
from poolhub.common.outbound import Client, OutboundError, RefusedAddress, is_allowed
from tests import receivers
from tests.receivers import Got, Handler, serving

pytestmark = pytest.mark.pure
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))


@pytest.fixture(autouse=True)
def loopback_allowed(settings) -> None:
    settings.OUTBOUND_ALLOW = LOOPBACK


def get(url: str, *, limit_s: float = 5, max_bytes: int = 1000, **headers: str) -> outbound.Answer:
    with Client() as client:
        return client.request("GET", url, limit_s=limit_s, max_bytes=max_bytes, headers=headers)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",  # noqa: S104
        "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1", "fec0::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address) -> None:
    assert not is_allowed(address, ())


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_allowed(address) -> None:
    assert is_allowed(address, ())


def test_the_operator_s_networks_are_allowed_and_no_others() -> None:
    networks = (ip_network("10.1.0.0/16"), ip_network("fc00::/8"))
    assert is_allowed("10.1.2.3", networks)
    assert is_allowed("::ffff:10.1.2.3", networks)
    assert is_allowed("fc00::1", networks)
    assert not is_allowed("10.2.0.1", networks)
    assert not is_allowed("127.0.0.1", networks)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_no_spelling_of_loopback_is_connected_to(settings, host) -> None:
    settings.OUTBOUND_ALLOW = ()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.05)
        with pytest.raises(RefusedAddress, match="OUTBOUND_ALLOW"):
            get(f"http://{host}:{listening.getsockname()[1]}/")
        with pytest.raises(TimeoutError):
            listening.accept()


def test_an_answer_comes_with_status_headers_and_content() -> None:
    with serving(lambda handler, got: handler.say(418, b"tea", ETag='"1"')) as site:
        answer = get(site.url("/a?b=c"), X_Key="k")
    assert (answer.status, answer.content, answer.complete, answer.headers["etag"]) == (418, b"tea", True, '"1"')
    assert site.got[0].path == "/a?b=c"
    assert site.got[0].headers["user-agent"] == "pool-hub"


def test_connections_are_kept() -> None:
    ports: list[int] = []

    def note(handler: Handler, got: Got) -> None:
        ports.append(handler.client_address[1])
        handler.say(200, b"x")

    with serving(note) as site, Client() as client:
        for _ in range(3):
            client.request("GET", site.url(), limit_s=5, max_bytes=10)
    assert len(ports) == 3
    assert len(set(ports)) == 1


def test_a_redirect_is_not_followed() -> None:
    with serving() as target, serving(receivers.status(302, Location=target.url("/private"))) as site:
        assert get(site.url()).status == 302
    assert target.got == []


def test_an_answer_is_read_up_to_the_limit_alone() -> None:
    def endless(handler: Handler, got: Got) -> None:
        handler.raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)

    with serving(endless) as site:
        answer = get(site.url(), max_bytes=5000)
    assert (len(answer.content), answer.complete) == (5000, False)


def drip(*parts: bytes) -> receivers.Answer:
    """A byte of the last part so often that no single wait is long."""

    def answer(handler: Handler, got: Got) -> None:
        handler.close_connection = True
        for each in parts:
            handler.wfile.write(each)
        while not handler.server.site.over.wait(0.02):  # type: ignore[attr-defined]
            try:
                handler.wfile.write(b"x")
            except OSError:
                return

    return answer


@pytest.mark.parametrize(
    "sent",
    [
        (),
        (b"HTTP/1.1 200 OK\r\nX-Drip: ",),
        (b"HTTP/1.1 200 OK\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",),
    ],
)
def test_a_server_that_drips_is_left_in_time(sent) -> None:
    with serving(drip(*sent)) as site:
        started = time.monotonic()
        with pytest.raises(OutboundError):
            get(site.url(), limit_s=0.3, max_bytes=10**6)
        assert time.monotonic() - started < 2


def test_a_server_that_never_accepts_a_byte_is_left_in_time() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with Client() as client, pytest.raises(OutboundError, match="no answer within"):
            client.request("POST", url, limit_s=0.2, max_bytes=10, content=b"x" * 50_000_000)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff" * 50,
        b"",
        b"HTTP/9.9 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    ],
)
def test_garbage_is_an_error_and_never_an_answer(garbage) -> None:
    with serving(receivers.raw(garbage)) as site, pytest.raises(OutboundError):
        get(site.url())


@pytest.mark.parametrize("url", ["http://nowhere.invalid/", "http://127.0.0.1:1/", "ftp://127.0.0.1/", "http://", "x"])
def test_what_cannot_be_called_is_an_error(url) -> None:
    with pytest.raises(OutboundError):
        get(url)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch) -> None:
    with serving() as proxy, serving() as site:
        monkeypatch.setenv("HTTP_PROXY", proxy.base)
        monkeypatch.setenv("ALL_PROXY", proxy.base)
        assert get(site.url()).status == 204
    assert proxy.got == []
