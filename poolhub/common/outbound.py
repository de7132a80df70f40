"""Requests that the hub itself makes: to receivers of settlements, price feeds, keys of issuers, and peer hubs.

Promises. A request ends within its time limit, whatever the other side does (a name's resolution is bounded by the
system's resolver alone). It reaches public addresses, and of others only those that OUTBOUND_ALLOW names: each address
is looked at as it is connected to, so that a name which resolves to something else a moment later gains nothing.
Redirects are not followed, proxies of the environment are not used, and no more of an answer is read than allowed.
For the last three, and the time limit, whoever uses AsyncTransport sees to them.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Self

import httpcore
import httpx
from django.conf import settings

from poolhub.common.network import Network

USER_AGENT = "pool-hub"
NAT64 = IPv6Network("64:ff9b::/96")  # holds an IPv4 address in its last 32 bits

_until: ContextVar[float] = ContextVar("outbound_until")  # time.monotonic; of the request under way in this thread


class OutboundError(Exception):
    """The request could not be made, or got no answer that can be read. The text names no secret."""


class RefusedAddress(OutboundError):
    """The address is not public, and OUTBOUND_ALLOW does not name it."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: httpx.Headers
    content: bytes  # up to the limit
    complete: bool


def is_allowed(address: str, networks: Sequence[Network]) -> bool:
    """Whether the hub may connect to an address: a public one, or one of those networks."""
    parsed = _inner(ip_address(address))
    if any(parsed in network for network in networks):
        return True
    if isinstance(parsed, IPv6Address) and parsed.is_site_local:  # private, though ipaddress takes it for global
        return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


class Client:
    """Keeps connections. Safe to be used by several threads."""

    def __init__(self, *, connections: int = 10) -> None:
        self._transport = _Transport(connections)
        self._client = httpx.Client(transport=self._transport, follow_redirects=False, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        limit_s: float,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Answer:
        """Raises OutboundError. An answer that is longer than max_bytes is cut there, and not complete."""
        named = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
        try:
            with _within(limit_s), self._client.stream(method, url, headers=named, content=content) as response:
                content_read, complete = _read(response, max_bytes)
                return Answer(response.status_code, response.headers, content_read, complete)
        except httpx.TimeoutException as error:
            raise OutboundError(f"no answer within {limit_s:g} s") from error
        except httpx.TransportError as error:
            if isinstance(error.__cause__, _Refused):
                raise RefusedAddress(str(error)) from error
            raise OutboundError(f"{type(error).__name__}: {error}") from error
        except (httpx.InvalidURL, httpx.StreamError, UnicodeError, ValueError) as error:
            raise OutboundError(f"{type(error).__name__}: {error}") from error


def _read(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    """As it comes over the line: nothing is unpacked, so that a small answer stays small."""
    read = bytearray()
    for chunk in response.iter_raw():
        read += chunk
        if len(read) > max_bytes:
            return bytes(read[:max_bytes]), False
    return bytes(read), True


@contextmanager
def _within(limit_s: float) -> Iterator[None]:
    token = _until.set(time.monotonic() + limit_s)
    try:
        yield
    finally:
        _until.reset(token)


def _left() -> float:
    left = _until.get() - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return left


class _Refused(httpcore.ConnectError):
    pass


class _Transport(httpx.HTTPTransport):
    """httpx's own, over connections that look at addresses and at the clock. httpx has no door for a backend."""

    def __init__(self, connections: int) -> None:
        super().__init__(trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=_trust(), max_connections=connections, network_backend=_Backend()
        )


class AsyncTransport(httpx.AsyncHTTPTransport):
    """For an httpx.AsyncClient: connections that look at addresses. Belongs to one event loop.

    `named` are addresses that a setting names as such, which allows them.
    """

    def __init__(self, *, connections: int = 10, named: Collection[str] = ()) -> None:
        super().__init__(trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_trust(), max_connections=connections, network_backend=_AsyncBackend(named)
        )


def _trust() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=True)  # SSL_CERT_FILE names the system's own authorities


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        """To the first address that may be reached and answers."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in _allowed(host, _addresses(host, port)):
            try:
                return _Stream(self._plain.connect_tcp(address, port, timeout=_left()))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _AsyncBackend(httpcore.AnyIOBackend):
    def __init__(self, named: Collection[str]) -> None:
        self._named = named

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's name
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """To the first address that may be reached and answers."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        found = [host] if host in self._named else _allowed(host, await asyncio.to_thread(_addresses, host, port))
        for address in found:
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Stream(httpcore.NetworkStream):
    """Waits no longer than the request under way has left."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=_left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=_left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout=_left()))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} has no address: {error}") from error
    return list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))


def _allowed(host: str, addresses: Sequence[str]) -> list[str]:
    """Those that may be reached; _Refused where there are only others."""
    found = [address for address in addresses if is_allowed(address, settings.OUTBOUND_ALLOW)]
    if addresses and not found:
        raise _Refused(f"{host} is {addresses[0]}, which is no public address: OUTBOUND_ALLOW does not name it")
    return found


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None) or address
