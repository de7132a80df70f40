"""What the start of a process reads straight from the database is what the models say, on any storage."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from random import Random

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from benchmarks.engines import rows as one_by_one
from miners.models import Manifest, ManifestIssuer, Miner, MinerStatus, PriceOverride
from miners.registry import loader, runtime
from miners.registry.records import LiveStatus, MinerRow
from poolhub.common import clock
from tests.miners.registry.whole import unlike

pytestmark = pytest.mark.django_db

COUNT = 60


def stored(now: float) -> None:
    """Miners of every kind: with and without key, session, cap, measurements, overrides, status, contact."""
    draw = Random(3)
    at = clock.to_datetime(now)
    issuer = ManifestIssuer.objects.create(name="x", issuer="x")
    texts = ("", "RTX 4090", 'a "quoted", ünïcode [one] \\')
    for i in range(COUNT):
        miner = Miner.objects.create(
            miner_id=f"m{i * 37 % COUNT:02}", api_key_hash=draw.choice(("", "0123456789abcdef" * 4, "f" * 64)),
            session=draw.choice((0, int((now - 10.25) * 1e6))), version=draw.randrange(1, 9), addr=draw.choice(texts),
            proto=draw.choice(("http", "grpc")), gpu_name=draw.choice(texts), gpu_vram=draw.choice((0, 12, 23.5)),
            gpu_count=draw.randrange(3), cpu_cores=draw.randrange(10**6), ram_gb=draw.choice((0, 0.1, 64)),
            price=draw.choice((Decimal(0), Decimal("0.00000001"), Decimal("999999999.12345678"))),
            price_cap=draw.choice((None, Decimal(0), Decimal("0.5"))), max_parallel=draw.choice((1, 4)),
            region=draw.choice(texts), accel=draw.sample(["cuda", "rocm"], draw.randrange(3)),
            tags=[draw.choice(texts) for _ in range(draw.randrange(4))],
            capabilities=draw.sample(texts, draw.randrange(4)), draining=draw.random() < 0.3,
            operator_drain=draw.random() < 0.3, disabled=draw.random() < 0.3, logged_out=draw.random() < 0.3,
            trust_s=draw.random(), trust_f=draw.random() * 1e6,
            trust_at=draw.choice((at, at - timedelta(days=9, microseconds=1), at - timedelta(microseconds=123456))),
            latency_mean=draw.choice((None, 0, 12.5)), latency_count=draw.choice((0, 5)),
        )  # fmt: skip
        for _ in range(draw.choice((0, 0, 3))):
            PriceOverride.objects.create(
                miner=miner, price=Decimal(draw.randrange(9)) / 8, valid_from=at + timedelta(seconds=draw.randrange(-9, 9)),
                valid_until=draw.choice((None, at + timedelta(seconds=10))),
            )  # fmt: skip
        if draw.random() < 0.5:
            Manifest.objects.create(
                miner=miner, issuer=issuer, jti=str(i), token="a.b.c", issued_at=at - timedelta(days=1),
                expires_at=at + timedelta(seconds=draw.choice((-1, 10, 3600))), ended_at=draw.choice((None, None, at)),
                values=draw.choice(({}, {"gpu_vram": 80, "accel": [], "region": "us"}, {"capabilities": ["v", "w"], "gpu_count": 8})),
            )  # fmt: skip
        if draw.random() < 0.8:
            ago = timedelta(seconds=draw.choice((0, 60.000001, 119.5, 120.5)))
            MinerStatus.objects.create(
                miner=miner, last_seen=draw.choice((None, at - ago)), ts=draw.choice((None, at)),
                queue_len=draw.randrange(3), busy=draw.random() < 0.5, jobs=draw.randrange(3),
                latency_ms=draw.choice((None, 0, 33.25)), temp_c=draw.choice((None, -3.5, 61.1)),
                mem_free_gb=draw.choice((None, 5)),
            )  # fmt: skip


def read(now: float, grace_s: float) -> Iterator[tuple[MinerRow, LiveStatus | None]]:
    """Through the models, one miner after another."""
    for miner in Miner.objects.order_by("id"):
        status = MinerStatus.objects.filter(miner=miner, last_seen__isnull=False).first()
        if status is None:
            yield loader.miner_row(miner), None
            continue
        at = status.last_seen.timestamp()
        yield (
            loader.miner_row(miner),
            LiveStatus(
                last_seen=now if now - at <= grace_s else at, reported_at=at,
                ts=None if status.ts is None else status.ts.timestamp(), queue_len=status.queue_len, busy=status.busy,
                jobs=status.jobs, latency_ms=status.latency_ms, temp_c=status.temp_c, mem_free_gb=status.mem_free_gb,
            ),
        )  # fmt: skip


@pytest.mark.parametrize("chunk", [7, COUNT, 1000])
def test_a_load_holds_what_the_models_say(time, monkeypatch, chunk) -> None:
    now = time.now()
    stored(now)
    monkeypatch.setattr(loader, "CHUNK", chunk)
    loaded, expected = runtime.new_registry(), runtime.new_registry()
    loader.load(loaded, now=now)
    one_by_one.write(expected, read(now, expected.states.grace_s), now=now)
    assert len(loaded) == COUNT
    assert not unlike(loaded, expected)
    for each in (loaded, expected):
        each.refresh(now + 130)
    assert not unlike(loaded, expected)
    assert np.isnan(loaded.columns.temp_c[:COUNT]).any()
    assert loaded.prices._windows
    assert loaded.attested.all_hidden()


def test_no_miner_is_no_difficulty(time) -> None:
    registry = runtime.new_registry()
    loader.load(registry, now=time.now())
    assert len(registry) == 0


@pytest.mark.parametrize("beside", ["miners_priceoverride", "miners_manifest"])
def test_what_lies_beside_a_row_is_read_after_it(time, beside) -> None:
    """What is decided in between raises the version of a row that was read before, so it comes again; were it the other
    way round, the row would be known with that version already, and without what was decided."""
    stored(time.now())
    loaded = runtime.new_registry()

    def order(work: Callable[[], object]) -> bool:
        with CaptureQueriesContext(connection) as queries:
            work()
        said = [each["sql"] for each in queries.captured_queries]
        rows = next(at for at, sql in enumerate(said) if "api_key_hash" in sql)
        return rows < next(at for at, sql in enumerate(said) if f'FROM "{beside}"' in sql)

    assert order(lambda: loader.load(loaded, now=time.now()))
    Miner.objects.filter(status__isnull=False).update(version=100)
    assert order(lambda: list(loader.stale_rows(loaded, now=time.now())))
