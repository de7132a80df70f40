"""How often miners are asked to report: the hub stretches their rhythm, and the leases with it, as the pool grows.

After Nomad: a target rate of heartbeats over all processes, and a lease that lengthens with the number of miners. The
core is pure; `repace` applies it to this process's registry and tells the open sockets.
"""

import random
from dataclasses import dataclass

from django.conf import settings

from miners import connections
from miners.liveness import next_heartbeat_s, whole
from miners.registry.records import State
from miners.registry.runtime import get_registry
from miners.registry.store import Registry
from poolhub.common import clock

REPACE_S = 5.0
HEADROOM = 1.1  # a new stretch allows so many more miners before the next one
SLACK = 0.75  # and holds until so few of those it was made for are left
JITTER = 0.1  # of a stretched rhythm: miners that were told together do not report together


@dataclass(frozen=True, slots=True)
class Pace:
    lease_ttl_s: float
    next_heartbeat_s: float


def stretch(live: int, *, rhythm_s: float, limit_per_s: float, held: float) -> float:
    """By how much to lengthen the rhythm, >= 1: live / stretched rhythm stays below the limit (0 = no limit).

    held is the stretch in force; it stays while it is enough and not far too much.
    """
    if not limit_per_s:
        return 1.0
    needed = live / rhythm_s / limit_per_s
    if needed <= 1:
        return 1.0 if held == 1 or needed < SLACK else min(held, HEADROOM)
    if SLACK * held <= needed <= held:
        return held
    return needed * HEADROOM


def pace() -> Pace:
    """What a miner is told now."""
    registry = get_registry()
    ttl_s = registry.states.session_ttl_s
    rhythm_s = next_heartbeat_s(ttl_s)
    if registry.stretch > 1:
        rhythm_s *= 1 - random.uniform(0, JITTER)  # noqa: S311 - spreads load, guards nothing
        return Pace(whole(round(ttl_s, 1)), round(rhythm_s, 2))
    return Pace(whole(ttl_s), rhythm_s)


def repace(registry: Registry | None = None) -> bool:
    """Fit the rhythm to the number of miners that are live; True where it changed."""
    registry = get_registry() if registry is None else registry  # an empty one is false
    counts = registry.counts(now=clock.now()).values()
    live = sum(number for states in counts for state, number in states.items() if state is not State.OFFLINE)
    rhythm_s = next_heartbeat_s(settings.SESSION_TTL_SEC)
    wanted = stretch(
        live, rhythm_s=rhythm_s, limit_per_s=settings.MAX_HEARTBEATS_PER_SEC, held=registry.stretch
    )  # fmt: skip
    if not registry.set_stretch(wanted):
        return False
    connections.pace_all()
    return True
