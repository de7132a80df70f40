"""Register so many miners in the hub's database: python -m benchmarks.sockets.seed COUNT, says their ids and tokens."""

import json
import sys

import django

django.setup()

from miners.models import Miner  # noqa: E402
from miners.seeding.database import seed_miners_store  # noqa: E402
from miners.seeding.population import population  # noqa: E402
from miners.sessions import token_issue  # noqa: E402

if __name__ == "__main__":
    seed_miners_store(specs=population(int(sys.argv[1]), seed=1), progress=lambda _: None)
    stored = Miner.objects.order_by("miner_id").values_list("miner_id", "session")
    print(json.dumps([[miner_id, token_issue(miner_id, session)] for miner_id, session in stored]))
