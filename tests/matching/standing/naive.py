"""A match as each miner sees it, told by the model: miner after miner, and price after price."""

from decimal import Decimal

from matching.scoring.filters import CONSTRAINTS
from matching.scoring.types import Candidate, Query
from matching.standing.survey import ELIGIBLE, judge, look
from miners.registry.store import Registry
from tests.matching.scoring import model as slow
from tests.matching.scoring.model import UNITS, Field
from tests.miners.registry.model import ModelMiner, ModelRegistry

PRICED = {"max_price", "max_price_vs_market"}


def assert_surveyed(registry: Registry, model: ModelRegistry, query: Query, now: float) -> None:
    seen, terms = look(registry, query, now)
    found = judge(query, terms, seen)
    failed = slow.failures(model, query, now)
    ranked = slow.ranking(model, query, now, failed)
    _, field = slow.field_of(model, query, now, failed)
    first = ranked[0] if ranked else None
    assert [registry.ids[slot] for slot in found.eligible] == [each.miner_id for each in ranked]
    winning = dict(zip((registry.ids[slot] for slot in found.lost), found.winning.tolist(), strict=True))
    assert len(winning) == len(found.lost)
    for miner_id, miner in model.miners.items():
        slot, fails = registry.slots[miner_id], [each.constraint for each in failed[miner_id]]
        verdict = int(found.verdict[slot])
        assert (None if verdict == ELIGIBLE else CONSTRAINTS[verdict]) == (fails[0] if fails else None)
        if set(fails) - PRICED or (first is not None and first.miner_id == miner_id):
            assert miner_id not in winning
            continue
        own = miner.price(now)[0]
        step = _step(query, field) + 1
        if miner_id in winning:
            price = winning[miner_id]
            assert 0 < price < own
            assert wins(model, query, now, field, miner, price, first)
            if price + step < own:
                assert not wins(model, query, now, field, miner, price + step, first)
        else:
            assert not any(
                wins(model, query, now, field, miner, each, first)
                for each in (1 + step, own // 2, own - 1)
                if 0 < each < own
            )


def wins(
    model: ModelRegistry, query: Query, now: float, field: Field, miner: ModelMiner, price: int, first: Candidate | None
) -> bool:
    """Whether it would have been first at this price, the score's ceiling as it was."""
    if query.max_price is not None and Decimal(price) / UNITS > query.max_price:
        return False
    if query.max_price_vs_market is not None:
        entry = model.find(miner.row.gpu_name, miner.row.region)
        if entry is not None and price > entry.median * query.max_price_vs_market:
            return False
    if first is None:
        return True
    c, w = slow.components(model, query, miner, now, field), query.weights
    ceiling = field.dearest / UNITS if query.max_price is None else float(query.max_price)
    part = 1.0 if ceiling == 0 else max(0.0, 1 - price / UNITS / ceiling)
    total = w.cap + w.price + w.latency + w.trust + w.load
    score = (c.cap * w.cap + part * w.price + c.latency * w.latency + c.trust * w.trust + c.load * w.load) / total
    score = slow.places(score * 0.5 if model.late(miner, now) else score)
    return (-score, price, miner.row.miner_id) < (-first.score, first.price_units, first.miner_id)


def _step(query: Query, field: Field) -> int:
    """A price moves the score's sixth place by so much at least."""
    w = query.weights
    ceiling = field.dearest if query.max_price is None else float(query.max_price) * UNITS
    total = w.cap + w.price + w.latency + w.trust + w.load
    return int(ceiling * 2.1e-6 * total / w.price) + 1 if w.price else 0
