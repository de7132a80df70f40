"""Who calls, past proxies that are trusted."""

from ipaddress import ip_network

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from poolhub.common.network import allowed, client_address, is_loopback, rate_key, request_address, scope_address
from tests.effort import effort

pytestmark = pytest.mark.pure

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # no proxy of ours: a claim
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),  # what stands further left is a claim
        ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # all of them ours
        ("10.0.0.1", "198.51.100.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, ", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "  198.51.100.7  ", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "2001:DB8:0::1", "2001:db8::1"),
        ("fd00::1", "198.51.100.7", "198.51.100.7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", "fe80::1%\x1b[31m" + "x" * 300, "fe80::1"),  # a zone may be any text, which a log would show
        ("fe80::2%eth0", "198.51.100.7", "fe80::2"),
        ("", "198.51.100.7", ""),  # a Unix socket
        ("unix:", "198.51.100.7", "unix:"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(remote, forwarded, address) -> None:
    assert client_address(remote, forwarded, PROXIES) == address


@pytest.mark.parametrize("forwarded", [None, "198.51.100.7", "10.0.0.1"])
def test_without_trusted_proxies_the_header_says_nothing(forwarded) -> None:
    assert client_address("10.0.0.1", forwarded, ()) == "10.0.0.1"


ADDRESSES = st.ip_addresses().map(str) | st.sampled_from(("10.0.0.1", "10.1.2.3", "192.0.2.1", "x", ""))


@effort(300)
@given(st.text(), st.sampled_from(("192.0.2.1", "2001:db8::5")))
def test_no_header_changes_a_caller_that_is_no_proxy(forwarded: str, remote: str) -> None:
    assert client_address(remote, forwarded, PROXIES) == remote


@effort(300)
@given(st.lists(ADDRESSES, max_size=4), st.text(max_size=20))
def test_what_a_client_writes_changes_nothing(hops: list[str], claim: str) -> None:
    """A proxy of ours appends the client, whatever the client has written to the left of it."""
    written = ", ".join([*hops, claim, "198.51.100.7"])
    assert client_address("10.0.0.1", written, PROXIES) == "198.51.100.7"


def test_a_request_and_a_socket_tell_the_same_address(settings) -> None:
    settings.TRUSTED_PROXIES = PROXIES
    for remote, forwarded in (("10.0.0.1", "203.0.113.9, 198.51.100.7"), ("192.0.2.1", "198.51.100.7")):
        request = RequestFactory().get("/", REMOTE_ADDR=remote, headers={"X-Forwarded-For": forwarded})
        scope = {"client": (remote, 1), "headers": [(b"x-forwarded-for", forwarded.encode())]}
        assert request_address(request) == scope_address(scope) == client_address(remote, forwarded, PROXIES)


def test_a_socket_may_name_no_client_or_the_header_twice(settings) -> None:
    settings.TRUSTED_PROXIES = PROXIES
    assert scope_address({"client": None, "headers": []}) == ""
    assert scope_address({}) == ""
    twice = [(b"x-forwarded-for", b"203.0.113.9"), (b"host", b"x"), (b"x-forwarded-for", b"198.51.100.7")]
    assert scope_address({"client": ("10.0.0.1", 1), "headers": twice}) == "198.51.100.7"


@pytest.mark.parametrize(
    ("address", "networks", "let_in"),
    [
        ("192.0.2.1", [], True),
        ("", [], True),
        ("192.0.2.1", ["192.0.2.0/24"], True),
        ("192.0.3.1", ["192.0.2.0/24"], False),
        ("192.0.3.1", ["192.0.2.0/24", "192.0.3.1"], True),
        ("::ffff:192.0.2.1", ["192.0.2.0/24"], True),
        ("2001:db8::1", ["192.0.2.0/24"], False),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("nonsense", ["0.0.0.0/0"], False),
    ],
)
def test_an_allowlist_lets_in_whom_it_names_and_everybody_where_it_is_empty(address, networks, let_in) -> None:
    assert allowed(address, tuple(map(ip_network, networks))) is let_in


@pytest.mark.parametrize(("address", "loopback"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
                                                   ("::ffff:127.0.0.1", True), ("10.0.0.1", False), ("", False),
                                                   ("localhost", False), ("::", False)])  # fmt: skip
def test_loopback(address, loopback) -> None:
    assert is_loopback(address) is loopback


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_callers_are_counted_by_address_and_ipv6_ones_by_their_64(address, key) -> None:
    assert rate_key(address) == key


@effort(200)
@given(st.text())
def test_any_text_has_a_key_and_is_on_no_list(text: str) -> None:
    assert isinstance(rate_key(text), str)
    assert not allowed("x" + text, PROXIES)
