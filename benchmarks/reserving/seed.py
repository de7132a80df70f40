"""Register so many miners in the hub's database: python -m benchmarks.reserving.seed COUNT, says their slots."""

import json
import sys

import django

django.setup()

from miners.models import Miner, MinerStatus  # noqa: E402
from miners.seeding.database import seed_miners_store  # noqa: E402
from miners.seeding.population import population  # noqa: E402

if __name__ == "__main__":
    seed_miners_store(specs=population(int(sys.argv[1]), seed=1), progress=lambda _: None)
    MinerStatus.objects.update(queue_len=0, busy=False)  # all of their slots are free
    print(json.dumps(dict(Miner.objects.values_list("miner_id", "max_parallel"))))
