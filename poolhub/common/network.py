"""Who calls: the client's address, past proxies that we trust, and whether it is allowed."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest

Network = IPv4Network | IPv6Network


def client_address(remote: str, forwarded_for: str | None, trusted: Sequence[Network]) -> str:
    """Walk ``X-Forwarded-For`` from the right for as long as the address in hand is a trusted proxy's.

    What stands left of the first untrusted address is anybody's claim. ``remote`` may be empty (a Unix socket): it is
    never trusted.
    """
    address = _normal(remote) or remote
    for hop in reversed((forwarded_for or "").split(",")):
        if not trusted or not contains(trusted, address):
            break
        named = _normal(hop)
        if named is None:
            break
        address = named
    return address


def request_address(request: HttpRequest) -> str:
    return client_address(
        request.META.get("REMOTE_ADDR") or "", request.META.get("HTTP_X_FORWARDED_FOR"), settings.TRUSTED_PROXIES
    )


def scope_address(scope: Mapping[str, Any]) -> str:
    """The same for an ASGI scope, HTTP or WebSocket."""
    client = scope.get("client")
    forwarded = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"x-forwarded-for"]
    return client_address(client[0] if client else "", ",".join(forwarded), settings.TRUSTED_PROXIES)


def contains(networks: Iterable[Network], address: str) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


def allowed(address: str, networks: Sequence[Network]) -> bool:
    """An empty allowlist allows everybody."""
    return not networks or contains(networks, address)


def is_loopback(address: str) -> bool:
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


def rate_key(address: str) -> str:
    """IPv6 callers own at least a /64: they are counted by it."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False).network_address)
    return str(parsed or address)


@lru_cache(maxsize=4096)  # the same few callers come again and again
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text.strip().partition("%")[0])  # without a zone, which may be any text
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _normal(text: str) -> str | None:
    """An address as a proxy may write it, with a port or in brackets too."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    parsed = _parse(text)
    return None if parsed is None else str(parsed)
