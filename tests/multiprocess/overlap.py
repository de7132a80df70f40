"""The independent count: how many reservations of a miner were certainly live at one moment, from what their holders
wrote down."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """Live for certain from begin to before end, by the one clock of all processes."""

    miner_id: str
    begin: int  # ns
    end: int


def most_at_once(held: Iterable[Held]) -> dict[str, int]:
    changes: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for each in held:
        if each.begin < each.end:
            changes[each.miner_id] += [(each.begin, 1), (each.end, -1)]
    most: Counter[str] = Counter()
    for miner_id, moments in changes.items():
        live = 0
        for _, change in sorted(moments):  # of one moment the ends come first
            live += change
            most[miner_id] = max(most[miner_id], live)
    return dict(most)
