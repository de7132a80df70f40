"""Where miners stand: regions with their share of the pool, distance, price level and time of day; pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Place:
    region: str
    weight: float
    latency_ms: float  # median of what a miner in a data centre there measures
    price_level: float  # 1 = the table's prices
    utc_offset_h: float


PLACES = (
    Place("us-east", 22, 48, 1.00, -5),
    Place("us-west", 15, 72, 1.05, -8),
    Place("us-central", 8, 60, 0.95, -6),
    Place("ca-central", 3, 55, 0.97, -5),
    Place("eu-west", 14, 22, 1.06, 0),
    Place("eu-central", 14, 18, 1.10, 1),
    Place("eu-north", 5, 30, 0.90, 1),
    Place("eu-east", 4, 34, 0.85, 2),
    Place("ap-southeast", 5, 165, 0.98, 8),
    Place("ap-northeast", 5, 150, 1.12, 9),
    Place("ap-south", 2, 130, 0.82, 5.5),
    Place("sa-east", 2, 140, 0.92, -3),
    Place("af-south", 1, 155, 0.88, 2),
)


ZONE = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")


class UnknownRegion(ValueError):
    pass


def places(asked: Iterable[str]) -> tuple[Place, ...]:
    """The places that the words name, in the order of their regions; all of them without a word.

    As in a match, a word takes the regions that it equals or is a prefix of up to a `-`; a word that goes on beyond a
    region names a zone of it (eu-west-1). Raises UnknownRegion.
    """
    named = {place.region: place for word in asked for place in _named(word)}
    return tuple(named[region] for region in sorted(named)) or PLACES


def _named(word: str) -> Sequence[Place]:
    if found := [place for place in PLACES if f"{place.region}-".startswith(f"{word}-")]:
        return found
    for place in PLACES:
        if word.startswith(f"{place.region}-") and ZONE.fullmatch(word.removeprefix(f"{place.region}-")):
            return [replace(place, region=word)]
    known = ", ".join(place.region for place in PLACES)
    raise UnknownRegion(f"there is no region {word}; known are {known}, prefixes (eu) and zones (eu-west-1) of them")
