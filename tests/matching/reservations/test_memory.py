"""What the store in memory alone promises."""

import pytest

from matching.reservations import memory as module
from matching.reservations.base import Place
from matching.reservations.memory import MemoryStore

pytestmark = pytest.mark.pure

NOW = 1_800_000_000.0


def test_what_ran_out_leaves_nothing_behind(monkeypatch) -> None:
    monkeypatch.setattr(module, "SPARE", 10)
    store = MemoryStore()
    for i in range(1000):  # 20 a second, each for 1 s, each on a miner of its own
        store.take(job_id=f"j{i}", places=[Place(f"m{i}", 1)], ttl_ms=1000, now=NOW + i / 20)
        assert len(store._by_id) <= 2 * 21 + 10
    assert len(store._by_id) == len(store._by_job) == len(store._per_miner)
