"""Who is present, live, degraded, disabled, draining and free, as bitmaps kept in step with the columns.

Liveness follows from the last contact alone: online up to the session TTL, degraded up to the grace period, then
offline (contract, section 3). A sweep over the column moves miners on as time passes; between two sweeps contacts flip
single bits. A sweep costs time in proportion to the miners, so the next one waits as long as SWEEP_PAUSE_S a miner.
"""

import math
from typing import Any

import numpy as np

from miners.registry import bitmaps
from miners.registry.bitmaps import Rows, Words
from miners.registry.columns import INF, WIDE, Columns

SWEEP_PAUSE_S = 50e-9
ONLINE, DEGRADED = np.float32(1), np.float32(0.5)


class States:
    def __init__(self, columns: Columns, *, session_ttl_s: float, grace_s: float) -> None:
        self.columns = columns
        self.session_ttl_s = session_ttl_s
        self.grace_s = grace_s
        words = bitmaps.words_for(columns.capacity)
        self.present: Words = np.zeros(words, np.uint64)
        self.logged_out: Words = np.zeros(words, np.uint64)
        self.disabled: Words = np.zeros(words, np.uint64)
        self.draining: Words = np.zeros(words, np.uint64)
        self.live: Words = np.zeros(words, np.uint64)  # online or degraded by contact
        self.free: Words = np.zeros(words, np.uint64)  # occupied < max_parallel
        self.memo: dict[str, Any] = {}  # what others work out from these sets; emptied whenever one of them changes
        self._swept_at = -INF
        self._next_sweep = -INF

    def grow(self, words: int) -> None:
        for name in ("present", "logged_out", "disabled", "draining", "live", "free"):
            setattr(self, name, bitmaps.grown(getattr(self, name), words))

    def clear(self, slot: int) -> None:
        self.memo.clear()
        for words in (self.present, self.logged_out, self.disabled, self.draining, self.live, self.free):
            bitmaps.clear_bit(words, slot)

    def contact(self, slot: int, now: float) -> bool:
        """Record a contact; True where it brought the miner back among the live ones."""
        columns = self.columns
        columns.last_seen[slot] = max(columns.last_seen[slot], now)
        columns.f_state[slot] = ONLINE
        # a contact told late may be over already, and a degraded miner's next change was planned a grace period ahead
        self._next_sweep = min(self._next_sweep, now + self.session_ttl_s)
        if bitmaps.has_bit(self.live, slot) or bitmaps.has_bit(self.logged_out, slot):
            return False
        bitmaps.set_bit(self.live, slot)
        self.memo.clear()
        return True

    def expire_at_once(self) -> None:
        """Have the next refresh sweep, whatever was planned: contacts were written past contact()."""
        self._next_sweep = -INF

    def refresh(self, now: float, size: int) -> Rows | None:
        """Move miners on as time has passed; the slots that came or went, None where nothing was due."""
        if self._swept_at <= now < self._next_sweep:
            return None
        columns, words = self.columns, bitmaps.words_for(size)
        size = words << 6
        age = now - columns.last_seen[:size]
        live = bitmaps.from_mask(age <= self.grace_s) & self.present[:words] & ~self.logged_out[:words]
        changed = live ^ self.live[:words]
        self.live[:words] = live
        self.memo.clear()
        late = age > self.session_ttl_s
        columns.f_state[:size] = np.where(late, DEGRADED, ONLINE)
        due = np.where(late, self.grace_s, self.session_ttl_s) - age
        due[~bitmaps.to_mask(live)] = INF
        self._swept_at = now
        self._next_sweep = now + max(float(due.min(initial=INF)), SWEEP_PAUSE_S * size) + 1e-9
        return bitmaps.to_rows(changed)

    def settle_load(self, slot: int) -> None:
        """Bring what follows from load and latency in step with them: free, f_load and eta_ms (contract, section 4)."""
        columns = self.columns
        slots, occupied = int(columns.max_parallel[slot]), int(columns.own[slot]) + int(columns.foreign[slot])
        free = slots - occupied
        bitmaps.put_bit(self.free, slot, free > 0)
        columns.f_load[slot] = free / (free + 1) if free > 0 else 0.0
        columns.settle_merit(slot)
        latency = float(columns.latency[slot])
        eta = -1 if math.isnan(latency) else round(latency * (1 + occupied / slots))
        columns.eta_ms[slot] = eta
        columns.u_eta[slot] = min(max(eta, 0), WIDE)

    def nbytes(self) -> int:
        return 6 * self.present.nbytes
