"""The independent count: from what the holders of slots wrote down, how many grants were one too many. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """For how long a holder had a slot for certain: from after the answer until before the call that ends it."""

    miner_id: str
    begin: int  # ns of the clock that all processes of a machine share
    end: int


def overbooked(held: Iterable[Held], limits: Mapping[str, int]) -> int:
    """Grants at whose moment the miner had all its slots taken already."""
    moments = sorted(
        moment
        for each in held
        if each.begin < each.end
        for moment in ((each.begin, 1, each.miner_id), (each.end, 0, each.miner_id))  # of one moment ends come first
    )
    live, found = dict.fromkeys(limits, 0), 0
    for _, begins, miner_id in moments:
        live[miner_id] += 1 if begins else -1
        found += bool(begins) and live[miner_id] > limits[miner_id]
    return found
