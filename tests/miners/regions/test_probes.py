"""`probes` of heartbeats, up to the database."""

import pytest
from django.db import OperationalError

from miners.models import RegionProbe
from miners.regions import probes as module
from miners.regions.probes import EVERY_S, Probes, probes
from poolhub.common import clock
from tests.miners.builders import fields_of, key_of, post, register
from tests.miners.sockets import Socket, beat, run

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/v1/miners/heartbeat"


@pytest.fixture(autouse=True)
def nothing_waits() -> None:
    probes.__init__()  # type: ignore[misc]


def kept() -> list[tuple[str, str, str, float]]:
    return list(RegionProbe.objects.order_by("miner_id", "other").values_list("miner_id", "region", "other", "rtt_ms"))


def test_what_a_heartbeat_measured_is_stored_over_http_by_token_and_by_key(client) -> None:
    register("far", region="us-east")
    token = register("m1", region="eu")
    register("m2", region="asia")
    assert post(client, URL, {"probes": {"us-east": 81.5, "eu": 3, "nowhere": 4}}, token=token).status_code == 200
    assert post(client, URL, {"probes": {"eu": 150}}, token=key_of("m2")).status_code == 200
    assert probes.flush() == 2
    assert kept() == [("m1", "eu", "us-east", 81.5), ("m2", "asia", "eu", 150.0)]
    assert probes.flush() == 0


def test_and_over_the_socket() -> None:
    register("far", region="us")
    token = register("m1", region="eu")

    async def play(socket: Socket) -> None:
        await socket.send(beat(probes={"us": 80}, ack=True))
        assert (await socket.receive())["type"] == "ack"

    run(play, lambda: Socket(token))
    probes.flush()
    assert kept() == [("m1", "eu", "us", 80.0)]


@pytest.mark.parametrize(
    "sent",
    [{"us": -1}, {"us": 10_001}, {"us": "near"}, {"": 1}, {"x" * 65: 1}, {f"r{n}": 1 for n in range(33)}, [80]],
)
def test_what_is_no_measurement_is_refused(client, sent) -> None:
    token = register("m1", region="eu")
    assert {name.partition(".")[0] for name in fields_of(post(client, URL, {"probes": sent}, token=token))} == {
        "probes"
    }


def test_a_miner_is_heard_every_so_often_and_its_newest_replaces_what_it_said(fake_clock) -> None:
    register("far", region="us")
    register("m1", region="eu")
    probes.take("m1", {"us": 80.0}, now=clock.now())
    probes.take("m1", {"us": 5000.0}, now=clock.now() + EVERY_S - 1)
    probes.flush()
    assert kept() == [("m1", "eu", "us", 80.0)]
    probes.take("m1", {"us": 90.0}, now=clock.now() + EVERY_S)
    probes.flush()
    assert kept() == [("m1", "eu", "us", 90.0)]


def test_a_miner_without_a_region_or_that_is_unknown_measures_nothing() -> None:
    register("far", region="us")
    register("m1", region="")
    for miner_id in ("m1", "nobody"):
        probes.take(miner_id, {"us": 80.0}, now=clock.now())
    assert probes.flush() == 0


def test_what_could_not_be_stored_waits(monkeypatch) -> None:
    register("far", region="us")
    register("m1", region="eu")
    probes.take("m1", {"us": 80.0}, now=clock.now())

    def away(*_: object, **__: object) -> None:
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(RegionProbe.objects, "bulk_create", away)
        with pytest.raises(OperationalError):
            probes.flush()
    assert probes.flush() == 1
    assert kept() == [("m1", "eu", "us", 80.0)]


def test_more_than_are_written_are_left_out(monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    monkeypatch.setattr(module, "MAX_SEEN", 2)
    register("far", region="us")
    made = Probes()
    for number in range(4):
        register(f"m{number}", region="eu")
        made.take(f"m{number}", {"us": 80.0}, now=clock.now())
    assert len(made._seen) <= 2
    assert made.flush() == 2
