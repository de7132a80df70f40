"""Which miners have changed since somebody last looked, told by comparison; pure.

Nothing that writes to the registry has to say so, and what time alone does (leases, override windows, forgetting) is
seen too. A look at 100,000 miners compares a few megabytes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miners.registry import bitmaps
from miners.registry.bitmaps import Mask, Words
from miners.registry.store import Registry

SLIGHT = 1e-3  # what a part of the score may drift by, from 0 to 1, before it counts as a change
DRIFTING = ("f_load", "f_latency", "f_trust")
PROFILE = ("pk", "version")


class Changes(NamedTuple):
    """Sets of slots, as long as the registry is."""

    profile: Words  # who came, went, or is now described otherwise
    standing: Words  # profile, state, free slots, price, market price, or a part of the score
    eta: Words
    mem_free: Words


class Watch:
    """One onlooker's memory of the registry; the first look tells of everybody."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._held: dict[str, NDArray[Any]] = {}

    def look(self, now: float) -> Changes:
        """What is otherwise than at the look before; the caller holds the registry's lock."""
        registry = self._registry
        registry.refresh(now)
        columns, states = registry.columns, registry.states
        rows = slice(0, bitmaps.words_for(registry.size) << 6)
        words = slice(0, bitmaps.words_for(registry.size))
        until = columns.attested_until[rows]
        # its end makes no new version, and the claimed values may come back a little later
        profile = self._differs("attested", until > now) | self._differs("attested_until", until)
        for name in PROFILE:
            profile |= self._differs(name, getattr(columns, name)[rows])
        standing = profile | self._differs("price", columns.price[rows])
        standing |= self._differs("market", registry.market.medians()[columns.market[rows]])
        standing |= self._differs("f_state", columns.f_state[rows])
        for name in DRIFTING:
            standing |= self._differs(name, getattr(columns, name)[rows], SLIGHT)
        eligible = states.live[words] & states.free[words] & ~states.disabled[words] & ~states.draining[words]
        return Changes(
            profile=bitmaps.from_mask(profile),
            standing=bitmaps.from_mask(standing) | self._toggled(eligible),
            eta=bitmaps.from_mask(self._differs("eta_ms", columns.eta_ms[rows])),
            mem_free=bitmaps.from_mask(self._differs("mem_free_gb", columns.mem_free_gb[rows])),
        )

    def _differs(self, name: str, values: NDArray[Any], slight: float = 0) -> Mask:
        held = self._held.get(name)
        if held is None or len(held) != len(values):
            self._held[name] = grown = np.zeros(len(values), values.dtype)
            known = 0 if held is None else min(len(held), len(values))
            if held is not None:
                grown[:known] = held[:known]
            differs = self._differs(name, values, slight)
            differs[known:] = True
            return differs
        mask: Mask = np.abs(values - held) > slight if slight else values != held
        if values.dtype.kind == "f":
            mask &= ~(np.isnan(values) & np.isnan(held))
        np.copyto(held, values, where=mask)
        return mask

    def _toggled(self, now: Words) -> Words:
        held = self._held.get("eligible")
        before = np.zeros(len(now), np.uint64)
        if held is not None:
            before[: len(held)] = held[: len(now)]
        self._held["eligible"] = now
        toggled: Words = before ^ now
        return toggled
