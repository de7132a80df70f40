"""A hub's database with a population in it: python -m benchmarks.database SIZE SEED, into the environment's DB_DSN.

Times are moved so that the population's moment is now.
"""

import math
import sys
import time
from decimal import Decimal
from itertools import islice

import django
from django.core.management import call_command

from benchmarks.population import NOW, population

CHUNK = 2000


def fill(size: int, seed: int) -> None:
    from miners.models import Miner, MinerStatus, PriceOverride  # noqa: PLC0415 - after django.setup()
    from miners.registry.prices import UNITS  # noqa: PLC0415
    from poolhub.common import clock  # noqa: PLC0415

    shift = time.time() - NOW
    rows = population(size, seed).rows()
    while chunk := list(islice(rows, CHUNK)):
        made = [
            Miner(
                miner_id=row.miner_id, api_key_hash=f"{row.key_tag:016x}".ljust(64, "0"), session=row.session,
                version=row.version, addr=row.addr, proto=row.proto, gpu_name=row.gpu_name, gpu_vram=row.gpu_vram,
                gpu_count=row.gpu_count, cpu_cores=row.cpu_cores, ram_gb=row.ram_gb, price=Decimal(row.price) / UNITS,
                price_cap=None if row.price_cap is None else Decimal(row.price_cap) / UNITS,
                max_parallel=row.max_parallel, region=row.region, accel=list(row.accel), tags=list(row.tags),
                capabilities=list(row.capabilities), draining=row.draining, disabled=row.disabled,
                trust_s=row.trust_s, trust_f=row.trust_f, trust_at=clock.to_datetime(row.trust_at + shift),
                latency_mean=row.latency_mean, latency_count=row.latency_count,
            )
            for row, _ in chunk
        ]  # fmt: skip
        Miner.objects.bulk_create(made)
        MinerStatus.objects.bulk_create(
            MinerStatus(
                miner_id=row.miner_id, last_seen=clock.to_datetime(live.last_seen + shift), queue_len=live.queue_len,
                latency_ms=live.latency_ms, mem_free_gb=live.mem_free_gb,
            )
            for row, live in chunk
        )  # fmt: skip
        PriceOverride.objects.bulk_create(
            PriceOverride(
                miner=miner, price=Decimal(window.price) / UNITS, valid_from=clock.to_datetime(window.starts_at),
                valid_until=None if math.isinf(window.ends_at) else clock.to_datetime(window.ends_at),
            )
            for miner, (row, _) in zip(made, chunk, strict=True)
            for window in row.overrides
        )  # fmt: skip


if __name__ == "__main__":
    django.setup()
    call_command("migrate", verbosity=0)
    fill(int(sys.argv[1]), int(sys.argv[2]))
