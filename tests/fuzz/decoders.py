"""Everything that reads bytes from outside, as functions of bytes: each gives up with the errors it names, or not at all.

What is read is used as far as that goes without storage (a match is ranked, reports are merged), and written and read
again where there is an encoder. `test_decoders` gives them bytes by Hypothesis, `python -m tests.fuzz` by coverage.
"""

import csv
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from ipaddress import ip_network
from typing import Any

import msgspec
import numpy as np
from msgspec import MsgspecError
from tablib.exceptions import TablibException

from feedback.serializers import FeedbackRequest
from market import feeds, mapping
from market.mapping import BadFeed, Paths, Unit
from matching.peers import asking
from matching.queries import query_of
from matching.reservations import sharing
from matching.reservations.holds import Offered, Outcome, Told
from matching.reservations.ledger import Ledger
from matching.reservations.memory import MemoryStore
from matching.scoring.pipeline import match
from matching.scoring.types import DEFAULT_WEIGHTS
from matching.serializers import BatchRequest, MatchRequest, RenewRequest, StreamMessage, WhyNotRequest
from matching.standing import packing
from miners import consumers, profile, reports, sessions
from miners.admin import override_files, region_file
from miners.choices import CommandName
from miners.manifests import keys, verify
from miners.manifests.reasons import Refused
from miners.registry import beats, snapshot, sync
from miners.registry.records import Report
from miners.serializers import (
    CommandAck,
    CommandRequest,
    HeartbeatRequest,
    ManifestRequest,
    RegisterRequest,
    TokenRequest,
    UpdateRequest,
)
from miners.services.commands import command_args
from poolhub.common import codec, network, requestid
from poolhub.common.errors import HubError
from tests.miners.manifests import builders as issuers
from tests.miners.registry.builders import NOW, empty, registry_of, row


@dataclass(frozen=True, slots=True)
class Decoder:
    read: Callable[[bytes], object]
    gives_up: tuple[type[Exception], ...]  # documented; anything else is a fault
    seeds: Sequence[bytes]

    def run(self, data: bytes) -> bool:
        """Whether it was read."""
        try:
            self.read(data)
        except self.gives_up:
            return False
        return True


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


# ---- bodies and messages


def body(kind: type[Any], data: bytes) -> Any:
    """What is read is written and read again as the same."""
    found = codec.decode(data, kind)
    assert codec.decode(codec.encode(found), kind) == found
    return found


@cache
def pool() -> Any:
    return registry_of(*(row(f"m{i}", pk=i + 1, price=i, tags=("t",), capabilities=(f"c{i}",)) for i in range(5)))


def asked(kind: type[MatchRequest], data: bytes) -> None:
    query = query_of(body(kind, data), default_weights=DEFAULT_WEIGHTS)
    codec.encode(match(pool(), query, now=NOW).rejected)


def registered(data: bytes) -> None:
    profile.registered_profile(body(RegisterRequest, data))


def updated(data: bytes) -> None:
    found = body(UpdateRequest, data)
    profile.durable_changes(found)
    pool().report("m0", reports.update_report(found, now=NOW))


def beaten(data: bytes) -> None:
    found = body(HeartbeatRequest, data)
    profile.durable_changes(found)
    pool().report("m0", reports.heartbeat_report(found, now=NOW))


def of_miner(data: bytes) -> None:
    said = consumers._read(data, binary=False)
    if not isinstance(said, CommandAck):
        pool().report("m0", reports.socket_report(*said, now=NOW))


def of_stream(data: bytes) -> None:
    if codec.decode(data, StreamMessage).type == "match":
        asked(MatchRequest, data)


def commanded(data: bytes) -> None:
    found = body(CommandRequest, data)
    command_args(CommandName(found.name), found.args or {})


def batch(data: bytes) -> None:
    for each in body(BatchRequest, data).requests:
        asked(MatchRequest, bytes(each))


def answered(data: bytes) -> None:
    for each in asking._read(data, 1):
        assert each is None or all(0 <= found.score <= 1 for found in each.candidates)


# ---- between processes


def beat(data: bytes) -> None:
    found = beats.unpack(data)
    written = beats.pack(found.writer, found.seq, found.told, found.beats)
    assert (written[:2], written[8:]) == (data[:2], data[8:])  # what is between is padding
    pool().merge(found.beats)


def event(decoder: "msgspec.msgpack.Decoder[Any] | msgspec.json.Decoder[Any]", data: bytes) -> None:
    found = decoder.decode(data)
    again = (
        msgspec.msgpack.encode(found) if isinstance(decoder, msgspec.msgpack.Decoder) else msgspec.json.encode(found)
    )
    assert repr(decoder.decode(again)) == repr(found)  # where nan is nan


@cache
def ledger() -> Ledger:
    return Ledger(pool(), MemoryStore(), job_ttl_s=60)


def job(data: bytes) -> None:
    sharing.apply_job(ledger(), data)


def reserved(data: bytes) -> None:
    sharing.apply_reservation(ledger(), data)


@cache
def snapped() -> dict[str, bytes]:
    registry = registry_of(*(row(f"m{i}", pk=i + 1, tags=("t",)) for i in range(3)))
    registry.report("m0", Report(at=NOW, queue_len=1))
    place = snapshot.Place(b"epoch", {"reports": b"5-1"}, {3: (4, 5)})
    return snapshot.encoded(snapshot.copied(registry, writer=7, place=place, events=[("job", b"x")], known={}))


def restored(name: str, data: bytes) -> None:
    """One part of a good snapshot replaced, under a sum that is right."""
    if name == snapshot.HEAD:
        part = snapshot._summed(data)
    else:
        layout, _, *about = snapshot.PART.unpack_from(snapped()[name])
        part = snapshot.PART.pack(layout, zlib.crc32(data), *about) + data
    with np.errstate(invalid="ignore"):  # of a whole number that is not a number
        snapshot.restore(empty(), {**snapped(), name: part}, now=NOW)


def inside(name: str) -> bytes:
    return snapped()[name][snapshot.SUM.size if name == snapshot.HEAD else snapshot.PART.size :]


def tallied(data: bytes) -> None:
    packing.unpack(zlib.compress(data, 1))


# ---- credentials and headers


def token(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")  # a header or query has no halves of pairs; nothing depends on it
    assert sessions.token_read(text) is None or text == issued().decode()
    sessions.hash_api_key(text)


def issued() -> bytes:
    return sessions.token_issue("m1", 1_800_000_000_000_000).encode()


def signed(data: bytes) -> None:
    verify.verify(data.decode("latin-1"), {issuers.ISSUER: issuers.policy()}.get, miner_id="m1", now=NOW)


def claimed(data: bytes) -> None:
    """Whatever an issuer may sign."""
    verify.verify(issuers.signed(data), {issuers.ISSUER: issuers.policy()}.get, miner_id="m1", now=NOW)


def headed(data: bytes) -> None:
    """Signed, whatever the header says."""
    text = issuers.signed_raw(data, issuers.claims(), issuers.key(), "ES256")
    verify.verify(text, {issuers.ISSUER: issuers.policy()}.get, miner_id="m1", now=NOW)


def key_set(data: bytes) -> None:
    for each in keys.public_keys(json.loads(data)):
        keys.key_import(each)


PROXIES = (ip_network("127.0.0.0/8"), ip_network("::1"))


def forwarded(data: bytes) -> None:
    text = data.decode("latin-1")
    found = network.client_address("127.0.0.1", text, PROXIES)
    assert found.isprintable()
    assert len(found) <= 64
    network.rate_key(found)
    assert network.client_address("192.0.2.1", text, PROXIES) == "192.0.2.1"
    network.rate_key(text)


def request_id(data: bytes) -> None:
    found = requestid.request_id_from(data.decode("latin-1"))
    assert found.isascii()
    assert 0 < len(found) <= 64


# ---- files and feeds

PATHS = Paths(rows="offers", model="gpu", region="geo", price="dph", unit="unit", as_of="seen")
UNITS = {"usd": Unit(Decimal("2.5"), 3600)}
OFFERS = as_json({"offers": [{"gpu": "RTX 4090", "geo": "EU West", "dph": 0.36, "seen": 1, "unit": "usd"}] * 2})
CONTENT = {"offers": [{"gpu": "H100", "dph": Decimal("0.1"), "n": 3, "tags": ["a", None], "numbers": [1, 2]}] * 2}


def fed(data: bytes) -> None:
    for each in mapping.mapped(feeds.parsed(data), PATHS, UNITS, now=NOW).rows:
        assert 0 <= each.price <= mapping.MAX_PRICE * mapping.PRICE_UNITS
        assert each.model


def expressed(data: bytes) -> None:
    """An expression of an operator, asked of a feed."""
    paths = Paths(rows="offers", model="gpu", region="", price=data.decode("utf-8", "replace"), unit="'usd'", as_of="")
    mapping.mapped(CONTENT, paths, UNITS, now=NOW)


def listed(data: bytes) -> None:
    """The rows of a feed, by whatever expression."""
    paths = Paths(rows=data.decode("utf-8", "replace"), model="gpu", region="", price="dph", unit="'usd'", as_of="")
    mapping.mapped(CONTENT, paths, UNITS, now=NOW)


def overrides(form: Any, data: bytes) -> None:
    """As the import of the admin decodes it."""
    given: Any = data if form is override_files.JSON else data.decode("utf-8-sig")
    found = form().create_dataset(given)
    override_files.header_faults(found.headers, override_files.COLUMNS)


def regions(data: bytes) -> None:
    values, faults = region_file.read(data.decode("utf-8-sig"))
    assert faults or all(ms is None or ms >= 0 for ms in values.values())


MATCH = {
    "job_id": "j", "top_k": 3, "reserve": True, "requirements": {"min_vram_gb": 8, "accel": ["cuda"], "tags_any": ["t"]},
    "hints": {"region": "eu", "max_price": "0.1", "weights": {"cap": 1}, "explain": "full", "spillover": True},
}  # fmt: skip
REGISTER = {
    "miner_id": "m", "api_key": "k" * 16, "addr": "a:1", "gpu_vram_gb": 24, "tags": {"cuda": "12.4"}, "base_price": "1",
    "capabilities": ["c"],
}  # fmt: skip
BEAT = {"ts": "2027-01-15T08:00:00Z", "queue_len": 1, "busy": True, "probes": {"us": 80.5}, "ack": True}
OLD_BEAT = {"status": "active", "current_jobs": 1, "memory_used": 1, "memory_total": 9, "network_latency_ms": -1}
ACK = {"type": "command.ack", "id": "0b2b8a3e-7a53-4f5e-9d0c-6a1f2b3c4d5e", "ok": False, "detail": "no"}
FEEDBACK = {"job_id": "j", "miner_id": "m", "outcome": "completed", "latency_ms": 1.5, "tokens_spent": 0.1}
OVERRIDES = b"miner_id,price,reason,valid_from,valid_until\nm1,0.5,'=x,2027-01-15T08:00:00Z,\n"
ANSWER = {
    "job_id": "j", "explain": "x", "considered": 3, "eligible": 2, "rejected": {"region": 1},
    "candidates": [{
        "miner_id": "m", "addr": "a:1", "proto": "grpc", "score": 0.5, "eta_ms": None, "price": 0.1, "region": "us",
        "gpu_name": "H100", "explain": "x", "components": dict.fromkeys(("cap", "price", "latency", "trust", "load"), 0.5),
    }],
}  # fmt: skip
HUB = (HubError,)
BUS = (MsgspecError, ValueError, RecursionError)  # whatever it is, the bus passes over the record, and goes on


def decoders() -> dict[str, Decoder]:
    """Made once Django is set up."""
    row_event = sync.encode(sync.RowEvent(row(), NOW, None))
    told = sharing.job_payload("j", [Offered(NOW, ("m1", "m2"), NOW + 2), Told(NOW, "m1", Outcome.ACCEPTED, NOW + 9)])
    reservation = {"id": "r", "job_id": "j", "miner_id": "m", "ttl_ms": 1000, "expires_at": NOW, "revision": 1}
    tally = packing._encoder.encode(packing.Packed(1, 2, bytes(8), {"a": bytes(4)}, {}, bytes(8), bytes(16)))
    beating = beats.pack(1, 2, 3, [beats.beat_of(1, Report(at=NOW, ts=NOW, queue_len=2, busy=True), NOW, 1)])
    return {
        "match": Decoder(partial(asked, MatchRequest), HUB, [as_json(MATCH)]),
        "why-not": Decoder(partial(asked, WhyNotRequest), HUB, [as_json({"miner_id": "m0", **MATCH})]),
        "batch": Decoder(batch, HUB, [as_json({"requests": [MATCH, {"job_id": "k"}]})]),
        "register": Decoder(registered, HUB, [as_json(REGISTER)]),
        "update": Decoder(updated, HUB, [as_json({"queue_len": 1, "tags": ["a"], "temp_c": 60, "draining": False})]),
        "heartbeat": Decoder(beaten, HUB, [as_json(BEAT), as_json(OLD_BEAT)]),
        "feedback": Decoder(partial(body, FeedbackRequest), HUB, [as_json(FEEDBACK)]),
        "renewal": Decoder(partial(body, RenewRequest), HUB, [b'{"reservation_ttl_ms":5000}']),
        "session token in a body": Decoder(partial(body, TokenRequest), HUB, [b'{"session_token":"m/1:x"}']),
        "manifest in a body": Decoder(partial(body, ManifestRequest), HUB, [b'{"manifest":"a.b.c"}']),
        "command": Decoder(commanded, HUB, [
            as_json({"name": "update_tags", "args": {"tags": ["a"]}}), as_json({"name": "set_price_cap", "args": {"price": 0.3}}),
        ]),
        "message of a miner": Decoder(of_miner, HUB, [as_json(BEAT), as_json(ACK)]),
        "message of the match stream": Decoder(of_stream, HUB, [as_json({"type": "match", "id": "1", **MATCH})]),
        "answer of a peer": Decoder(answered, (asking.Refused,), [as_json({"results": [ANSWER]})]),
        "batch of heartbeats": Decoder(beat, (beats.UnknownFormat,), [beating]),
        "row on the bus": Decoder(partial(event, sync._rows), BUS, [row_event]),
        "removal on the bus": Decoder(partial(event, sync._removals), BUS, [sync.encode(["m", 1])]),
        "socket on the bus": Decoder(partial(event, sync._sockets), BUS, [sync.encode(["m", NOW])]),
        "job on the bus": Decoder(job, BUS, [told]),
        "reservation on the bus": Decoder(reserved, BUS, [as_json(reservation)]),
        **{
            f"snapshot: {name}": Decoder(partial(restored, name), (snapshot.Refused,), [inside(name)])
            for name in snapped()
        },
        "tally": Decoder(tallied, (MsgspecError, ValueError), [tally]),
        "session token": Decoder(token, (), [issued()]),
        "manifest": Decoder(signed, (Refused,), [issuers.signed(issuers.claims()).encode()]),
        "claims of a manifest": Decoder(claimed, (Refused,), [as_json(issuers.claims(capabilities=["a"], nbf=NOW))]),
        "header of a manifest": Decoder(headed, (Refused,), [as_json({"alg": "ES256", "kid": "k1", "typ": "JWT"})]),
        "key set": Decoder(key_set, (keys.BadKeys, ValueError, RecursionError), [as_json(issuers.jwks())]),
        "X-Forwarded-For": Decoder(forwarded, (), [b"192.0.2.7, [::1]:80, 127.0.0.1:9", b"fe80::1%eth0"]),
        "X-Request-ID": Decoder(request_id, (), [b"0123456789abcdef"]),
        "feed": Decoder(fed, (BadFeed,), [OFFERS]),
        "expression of a feed": Decoder(expressed, (BadFeed,), [b"dph", b"max(numbers)", b"(numbers[?@ > `1`] | [0]) || n"]),
        "rows of a feed": Decoder(listed, (BadFeed,), [b"offers[?n > `1`]", b"sort_by(offers, &n)"]),
        "overrides as CSV": Decoder(
            partial(overrides, override_files.CSV), (ValueError, csv.Error, TablibException), [OVERRIDES]
        ),
        "overrides as JSON": Decoder(
            partial(overrides, override_files.JSON), (ValueError, RecursionError, TablibException),
            [as_json([{"miner_id": "m1", "price": 0.5, "reason": "x"}])],
        ),
        "regions as CSV": Decoder(regions, (UnicodeDecodeError,), [b"region,other,operator_ms\neu,us,80\nus,ap,\n"]),
    }  # fmt: skip
