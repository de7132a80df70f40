"""Somebody who would be another miner, or more than a miner."""

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as configured
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from msgspec import Struct, structs

from matching import serializers as matching_bodies
from matching.consumers import UNAUTHORIZED, MatchStreamConsumer
from miners import serializers as miner_bodies
from miners.connections import ENDED
from miners.models import Miner, MinerStatus
from miners.registry.runtime import get_registry
from miners.services.operators import miner_create
from poolhub.common import clock
from tests.docs.pages import ROOT
from tests.miners.builders import body, key_of, post, register, stored, view
from tests.miners.sockets import Socket, beat
from tests.operators import superuser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("registry"), pytest.mark.once]

# What only the hub, an operator or an issuer decides, by whatever name it has somewhere inside
DECIDED = {
    "trust": 1.0, "trust_score": 1.0, "trust_s": 10**6, "trust_f": 0, "trust_at": "2020-01-01T00:00:00Z", "attested": True,
    "attested_until": "2030-01-01T00:00:00Z", "claimed": {}, "disabled": False, "operator_drain": False, "logged_out": False,
    "price_cap": None, "price_source": "own", "price_override": 0.1, "latency_mean": 1, "latency_count": 9,
    "measured_latency_ms": 1, "session": 9, "version": 99, "api_key_hash": "0" * 64, "key": "x", "pk": 1, "id": 1,
    "created_at": "2020-01-01T00:00:00Z", "registered_at": "2020-01-01T00:00:00Z", "reserved": 0, "reservations": 0,
    "is_staff": True, "is_superuser": True, "role": "administrator", "state": "online", "last_seen": "2030-01-01T00:00:00Z",
}  # fmt: skip
KEPT = ("trust_s", "trust_f", "disabled", "operator_drain", "price_cap", "latency_mean", "latency_count", "api_key_hash",
        "created_at")  # fmt: skip
# Bodies in which one of those names is what a caller may ask for, and is no more than that
MAY_ASK = {"Requirements": {"attested"}, "WeightsBody": {"trust"}, "CommandAck": {"id"}, "StreamMessage": {"id"}}


def requests_in(module: Any) -> Iterator[type[Struct]]:
    """Structs that are read from callers: the bodies, and what they hold."""
    for each in vars(module).values():
        is_own = isinstance(each, type) and issubclass(each, Struct) and each.__module__ == module.__name__
        if is_own and not each.__name__.endswith(("Answer", "Page")):
            yield each


def everything(**said: Any) -> dict[str, Any]:
    """A body with all of it beside, and inside."""
    return {**DECIDED, "miner": DECIDED, "profile": DECIDED, "live": DECIDED, "row": DECIDED, **said}


# ---- what only others decide


@pytest.mark.parametrize(
    "kind", [*requests_in(miner_bodies), *requests_in(matching_bodies)], ids=lambda kind: kind.__name__
)
def test_no_body_has_a_field_for_what_only_the_hub_or_an_operator_decides(kind) -> None:
    named = {field.encode_name for field in structs.fields(kind)}
    assert named & DECIDED.keys() <= MAY_ASK.get(kind.__name__, set())


def test_whatever_a_miner_s_bodies_hold_beside_it_changes_nothing_of_that(client) -> None:
    register("m1")
    Miner.objects.update(
        trust_s=1, trust_f=9, disabled=False, operator_drain=True, price_cap="0.5", latency_mean=70, latency_count=3
    )
    before = Miner.objects.values(*KEPT).get()
    token = post(client, "/v1/miners/register", everything(**body("m1"))).json()["session_token"]
    for path, said in (("update", {"queue_len": 1}), ("heartbeat", {"queue_len": 2}), ("lease/renew", {})):
        assert post(client, f"/v1/miners/{path}", everything(**said), token=token).status_code == 200
    assert Miner.objects.values(*KEPT).get() == before
    found = view("m1")
    assert (found.row.operator_drain, found.row.disabled, found.state) == (True, False, "draining")
    row = Client(headers={"X-Admin-Secret": configured.ADMIN_SHARED_SECRET[0]}).get("/v1/miners/m1").json()
    assert (row["attested_until"], row["claimed"], row["price_cap"]) == (None, {}, 0.5)
    assert row["trust"] < 0.5


def test_nor_does_a_new_miner_begin_with_any_of_it(client) -> None:
    assert post(client, "/v1/miners/register", everything(**body("m1"))).status_code == 201
    made = stored("m1")
    assert (made.trust_s, made.trust_f, made.disabled, made.price_cap, made.latency_count) == (0, 0, False, None, 0)
    assert made.api_key_hash not in ("", "0" * 64)
    assert view("m1").live.own == 0


def test_a_coordinator_sets_nobody_s_trust(client) -> None:
    register("m1")
    headers = {"X-Coordinator-Secret": configured.COORDINATOR_SHARED_SECRET[0]}
    reply = post(client, "/v1/feedback", everything(job_id="j1", miner_id="m1", outcome="failed"), **headers)
    assert reply.status_code == 201
    assert reply.json()["trust_score"] < 0.5
    assert Miner.objects.values_list("trust_s", "latency_count", "disabled").get() == (0, 0, False)


def test_the_admin_s_form_of_a_miner_takes_no_more_than_it_shows() -> None:
    made, _ = miner_create(miner_id="m1")
    before = Miner.objects.values("trust_s", "trust_f", "api_key_hash", "session", "miner_id", "latency_count").get()
    sent = {**{name: str(value) for name, value in DECIDED.items()}, "miner_id": "m2", "reason": "x"}
    superuser().post(f"/admin/miners/miner/{made.pk}/change/", sent)
    assert Miner.objects.values(*before).get() == before


# ---- another miner's session


def test_a_session_is_of_its_own_miner_whomever_the_body_and_the_query_name(client) -> None:
    mine = register("m1")
    register("m2", tags=["theirs"])
    before = Miner.objects.values().get(miner_id="m2")
    seen, status = view("m2").live, MinerStatus.objects.values().get(miner_id="m2")
    named = {"miner_id": "m2", "id": "m2", "queue_len": 7, "draining": True, "tags": ["mine"]}
    for path in ("update", "heartbeat", "lease/renew"):
        assert post(client, f"/v1/miners/{path}?miner_id=m2", named, token=mine).status_code == 200
    assert Miner.objects.values().get(miner_id="m2") == before
    assert (view("m2").live, MinerStatus.objects.values().get(miner_id="m2")) == (seen, status)
    assert stored("m1").tags == ["mine"]
    read = client.get("/v1/miners/standing?miner_id=m2", headers={"Authorization": f"Bearer {mine}"})
    assert read.json()["miner_id"] == "m1"
    assert post(client, "/v1/miners/logout?miner_id=m2", named, token=mine).status_code == 204
    assert view("m2").state == "online"


def test_a_token_with_another_name_or_number_is_none(client) -> None:
    token = register("m1")
    register("m2")
    named, _, signature = token.rpartition(":")
    _, _, number = named.rpartition("/")
    forged = [
        f"m2/{number}:{signature}",
        f"m1/{int(number) + 1}:{signature}",
        f"m1/{number}",
        f"{named}:",
        f":{signature}",
    ]
    for each in forged:
        assert post(client, "/v1/miners/update", {}, token=each).status_code == 401
    assert post(client, "/v1/miners/update", {}, token=token).status_code == 200


def test_a_key_is_of_its_own_miner_whomever_the_heartbeat_names(client) -> None:
    register("m1")
    register("m2")
    seen = view("m2").live
    said = {"queue_len": 7, "miner_id": "m2"}
    assert post(client, "/v1/miners/heartbeat", said, token=key_of("m1")).status_code == 401
    assert post(client, "/v1/miners/heartbeat?miner_id=m2", {"queue_len": 7}, token=key_of("m1")).status_code == 401
    assert view("m2").live == seen


@pytest.mark.parametrize("path", ["/v1/miners", "/v1/miners/m2", "/v1/reservations", "/v1/settlements"])
def test_a_miner_reads_nothing_of_others(client, path) -> None:
    token = register("m1")
    register("m2")
    for headers in ({"Authorization": f"Bearer {token}"}, {"X-Admin-Secret": token}, {"X-Coordinator-Secret": token}):
        assert client.get(path, headers=headers).status_code == 401


@pytest.mark.parametrize("secret", ["ADMIN_SHARED_SECRET", "COORDINATOR_SHARED_SECRET"])
def test_one_role_s_secret_is_not_another_s(client, secret) -> None:
    register("m1")
    (given,) = getattr(configured, secret)[:1]
    headers = {"X-Admin-Secret": given, "X-Coordinator-Secret": given, "Authorization": f"Bearer {given}"}
    denied = {
        "ADMIN_SHARED_SECRET": [("/v1/match", {"job_id": "j"}), ("/v1/feedback", {"job_id": "j"})],
        "COORDINATOR_SHARED_SECRET": [("/v1/miners/m1/commands", {"name": "drain"})],
    }[secret]
    for path, said in [*denied, ("/v1/miners/update", {}), ("/v1/miners/logout", {})]:
        assert post(client, path, said, **headers).status_code == 401, path


# ---- what an answer tells, in its words or its time


def test_an_unknown_id_and_a_wrong_key_are_told_and_looked_up_alike(client, settings) -> None:
    settings.ENROLLMENT = "closed"
    miner_create(miner_id="known")
    told = []
    for miner_id in ("known", "unknown"):
        with CaptureQueriesContext(connection) as queries:
            reply = post(client, "/v1/miners/register", body(miner_id), **{"X-Request-ID": "the-same"})
        told.append((reply.status_code, reply.content, [each["sql"].replace("unknown", "known") for each in queries]))
    assert told[0] == told[1]
    assert told[0][0] == 401


@pytest.mark.parametrize(
    ("module", "function"),
    [("poolhub/common/auth.py", "secret_matches"), ("miners/sessions.py", "key_matches")],
)
def test_secrets_are_compared_in_constant_time_alone(module, function) -> None:
    """A clock on a shared machine cannot show it, so the source does: one comparison, hmac's, and no way out before it
    but for a secret that was not given. Tokens are Django's, which compare so too (test_sessions)."""
    tree = ast.parse((ROOT / module).read_text())
    found = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    names = [ast.unparse(node.func) for node in ast.walk(found) if isinstance(node, ast.Call)]
    assert names.count("hmac.compare_digest") == 1
    assert not [node for node in ast.walk(found) if isinstance(node, ast.Compare | ast.Break | ast.Continue)]
    inside = [node for loop in ast.walk(found) if isinstance(loop, ast.For) for node in ast.walk(loop)]
    assert not [node for node in inside if isinstance(node, ast.Return | ast.If)]


# ---- from a page that an operator visits


class FromAPage(Socket):
    """A browser adds the operator's cookies and the page's origin to a handshake, and can add nothing else."""

    def __init__(self, consumer: Any, path: str, cookie: str) -> None:
        self.consumer, self.path = consumer, path
        headers = [(b"cookie", cookie.encode()), (b"origin", b"https://evil.example"), (b"host", b"localhost")]
        self._connect("", headers)


@pytest.mark.parametrize(
    ("path", "code"), [("/v1/miners/heartbeat", ENDED), ("/v1/match/stream", UNAUTHORIZED)]
)  # fmt: skip
def test_a_page_opens_no_socket_with_an_operator_s_cookies(path, code) -> None:
    root = superuser()
    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in root.cookies.items())
    assert configured.SESSION_COOKIE_NAME in cookie

    @async_to_sync
    async def opened() -> dict[str, Any]:
        page = FromAPage(MatchStreamConsumer if path.endswith("stream") else Socket.consumer, path, cookie)
        found = await page.open()
        await page.leave()
        return found

    assert opened() == {"close": code}


def test_a_page_s_requests_do_nothing_with_an_operator_s_cookies() -> None:
    """Another origin's: without the token that only the hub's own pages have."""
    register("m1")
    root = superuser()
    root.handler.enforce_csrf_checks = True
    for path, said in (
        ("/v1/miners/m1/commands", {"name": "drain"}),
        ("/admin/miners/miner/add/", {"miner_id": "m9"}),
        ("/admin/logout/", {}),
    ):
        reply = root.post(path, said, content_type="application/json", headers={"Origin": "https://evil.example"})
        assert reply.status_code == 403, path
    assert view("m1").state == "online"
    for headers in ({"Origin": "https://evil.example"}, {}):
        reply = root.get("/v1/miners", headers=headers)
        assert "Access-Control-Allow-Origin" not in reply.headers  # so no page of another origin can read the answer
        assert root.options("/v1/miners", headers=headers).status_code == 405


# ---- said again


def test_a_heartbeat_that_is_sent_again_undoes_nothing() -> None:
    """Over the socket, where a message has its time; over HTTP each is taken as it comes, and TLS keeps it to itself."""
    token = register("m1")

    @async_to_sync
    async def replayed() -> None:
        socket = Socket(token)
        await socket.open()
        first, second = beat(queue_len=1, ack=True), beat(1, queue_len=5, ack=True)
        for message in (first, second, first):
            await socket.send(message)
            await socket.receive()
        await socket.leave()

    replayed()
    found = get_registry().get("m1", now=clock.now())
    assert found is not None
    assert found.live.queue_len == 5


def test_a_match_that_is_sent_again_takes_no_second_slot(client) -> None:
    register("m1", max_parallel=5)
    headers = {"X-Coordinator-Secret": configured.COORDINATOR_SHARED_SECRET[0]}
    sent = {"job_id": "j1", "reserve": True}
    ids = {post(client, "/v1/match", sent, **headers).json()["reservation"]["id"] for _ in range(3)}
    assert len(ids) == 1
    assert view("m1").live.own == 1
