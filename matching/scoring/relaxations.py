"""What dropping one constraint alone would add: the miners that fail only this one.

With the constraints as sets of survivors, prefix and suffix intersections give "passes all but the i-th" for every i in
two passes instead of one match a constraint.
"""

from matching.scoring.filters import active
from matching.scoring.types import Query, Relaxation
from miners.registry import bitmaps
from miners.registry.store import Registry


def relaxations(registry: Registry, query: Query, now: float) -> list[Relaxation]:
    """One row a constraint that is named or always tried, most adds first."""
    everyone = registry.states.present[: bitmaps.words_for(registry.size)]
    tried = active(query)
    passing = [each.keep(registry, query, everyone, len(registry), now) for each in tried]
    after = [everyone]  # after[-1 - i]: the intersection of all from i on
    for words in reversed(passing):
        after.append(after[-1] & words)
    result, before = [], everyone
    for i, each in enumerate(tried):
        others = before & after[len(tried) - 1 - i]
        only = others & ~passing[i]
        adds = bitmaps.count(only)
        asked = each.asked(query)
        nearest = each.nearest(registry, bitmaps.to_rows(only), now) if each.nearest and adds else None
        result.append(Relaxation(each.name, asked, adds, nearest))
        before = before & passing[i]
    return sorted(result, key=lambda row: -row.adds)
