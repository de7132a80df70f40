"""All that a registry holds, by miner and by name, so that two can be compared whatever their codes and labels are."""

from typing import Any

import numpy as np

from miners.registry import bitmaps, views
from miners.registry.columns import COLUMNS
from miners.registry.states import SETS
from miners.registry.store import Registry
from miners.registry.terms import Kind

BY_NAME = ("region", "id_order")  # codes and labels: compared by what they stand for


def whole(registry: Registry) -> dict[str, Any]:
    size, words = registry.size, bitmaps.words_for(registry.size)
    slots = sorted(registry.slots.values())
    found: dict[str, Any] = {
        column.name: getattr(registry.columns, column.name)[:size].tobytes()
        for column in COLUMNS
        if column.name not in BY_NAME
    }
    found |= {f"set {name}": getattr(registry.states, name)[:words].tolist() for name in SETS}
    for name, index in registry.ranges.items():
        found[f"range {name}"] = (index._bounds, [each[:words].tolist() for each in index._sets])
    for kind in Kind:
        found[f"terms {kind}"] = {
            name: (registry.terms._by_name[kind][name].count, bitmaps.to_rows(registry.terms.words(kind, name, words)).tolist())
            for name in registry.terms.codes(kind).values()
        }  # fmt: skip
    regions = registry.terms.codes(Kind.REGION)
    found |= {
        "ids": registry.ids,
        "slots": registry.slots,
        "free slots": sorted(registry._free_slots),
        "removed": registry.removed,
        "addresses": registry.addrs,
        "terms of a miner": [views.terms_of(registry, slot) for slot in slots],
        "regions": [regions[code] for code in registry.columns.region[slots].tolist()],
        "order": [registry.ids[slots[at]] for at in np.argsort(registry.columns.id_order[slots])],
        "order of ids": list(registry.order),
        "windows": registry.prices._windows,
        "hidden": registry.attested.all_hidden(),
        "price changes": set(registry.prices._changes),
        "keys": registry.pks.slots_of(np.arange(1, 400, dtype=np.uint64)).tolist(),
        "regions to rank": {regions[code] for code in registry.ranks._dirty if code in regions},
    }
    return found


def unlike(one: Registry, other: Registry) -> set[str]:
    """In what they differ."""
    first, second = whole(one), whole(other)
    return {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
