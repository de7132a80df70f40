"""Who is present, live, degraded, disabled, draining and free, as bitmaps kept in step with the columns.

Liveness follows from the last contact alone: online up to the session TTL, degraded up to the grace period, then
offline (contract, section 3). Contacts flip single bits. A sweep over all contacts once a second notes who may change
before the next; those few alone are looked at as time passes, so that a miner moves on in time.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miners.registry import bitmaps
from miners.registry.bitmaps import Rows, Words
from miners.registry.columns import INF, WIDE, Columns

HORIZON_S = 1.0  # from one sweep to the next
SETS = ("present", "logged_out", "disabled", "draining", "live", "late", "free")
ONLINE, DEGRADED = np.float32(1), np.float32(0.5)


class States:
    def __init__(self, columns: Columns, *, session_ttl_s: float, grace_s: float) -> None:
        self.columns = columns
        self.stretch = 1.0  # of both times, under load
        self._session_ttl_s, self._grace_s = session_ttl_s, grace_s
        words = bitmaps.words_for(columns.capacity)
        self.present: Words = np.zeros(words, np.uint64)
        self.logged_out: Words = np.zeros(words, np.uint64)
        self.disabled: Words = np.zeros(words, np.uint64)
        self.draining: Words = np.zeros(words, np.uint64)
        self.live: Words = np.zeros(words, np.uint64)  # online or degraded by contact
        self.late: Words = np.zeros(words, np.uint64)  # silent for longer than the session TTL
        self.free: Words = np.zeros(words, np.uint64)  # occupied < max_parallel
        self.memo: dict[str, Any] = {}  # what others work out from these sets; emptied whenever one of them changes
        self._soon: Rows = np.empty(0, np.intp)  # slots that may change before the next sweep
        self._swept_at = self._next_check = -INF

    @property
    def session_ttl_s(self) -> float:
        return self._session_ttl_s * self.stretch

    @property
    def grace_s(self) -> float:
        return self._grace_s * self.stretch

    def grow(self, words: int) -> None:
        for name in SETS:
            setattr(self, name, bitmaps.grown(getattr(self, name), words))

    def clear(self, slot: int) -> None:
        self.memo.clear()
        for name in SETS:
            bitmaps.clear_bit(getattr(self, name), slot)

    def put_rows(self, name: str, rows: Rows) -> None:
        """Add slots to one of SETS."""
        members: Words = getattr(self, name)
        members |= bitmaps.from_rows(rows, len(members))
        self.memo.clear()

    def contact(self, slot: int, now: float) -> bool:
        """Record a contact; True where it brought the miner back among the live ones."""
        columns = self.columns
        if now > columns.last_seen.item(slot):
            columns.last_seen[slot] = now
        columns.f_state[slot] = ONLINE
        if bitmaps.has_bit(self.late, slot):
            bitmaps.clear_bit(self.late, slot)
        if now + self.session_ttl_s < self._swept_at + HORIZON_S:
            self.expire_at_once()  # told late, it may be over already
        if bitmaps.has_bit(self.live, slot) or bitmaps.has_bit(self.logged_out, slot):
            return False
        bitmaps.set_bit(self.live, slot)
        self.memo.clear()
        return True

    def contact_rows(self, rows: Rows, at: NDArray[np.float64]) -> Rows:
        """As contact(), for many at once, the newest last; the slots that came back among the live ones."""
        columns = self.columns
        np.maximum.at(columns.last_seen, rows, at)
        columns.f_state[rows] = ONLINE
        self.late &= ~bitmaps.from_rows(rows, len(self.late))
        if float(at.min()) + self.session_ttl_s < self._swept_at + HORIZON_S:
            self.expire_at_once()  # told late, some may be over already
        new = ~bitmaps.test_rows(self.live, rows) & ~bitmaps.test_rows(self.logged_out, rows)
        back: Rows = np.unique(rows[new])
        if len(back):
            self.live |= bitmaps.from_rows(back, len(self.live))
            self.memo.clear()
        return back

    def expire_at_once(self) -> None:
        """Have the next refresh sweep, whatever was planned: contacts were written past contact()."""
        self._swept_at = self._next_check = -INF

    def refresh(self, now: float, size: int) -> Rows | None:
        """Move miners on as time has passed; the slots that came or went, None where nothing was due."""
        if self._swept_at <= now < self._next_check:
            return None
        swept = self._swept_at <= now < self._swept_at + HORIZON_S
        moved = self._check(now) if swept else self._sweep(now, size)
        if len(moved):
            self.memo.clear()
        return moved

    def _sweep(self, now: float, size: int) -> Rows:
        """Settle every slot, and note which may change before the next sweep."""
        columns, words = self.columns, bitmaps.words_for(size)
        age = now - columns.last_seen[: words << 6]
        live = bitmaps.from_mask(age <= self.grace_s) & self.present[:words] & ~self.logged_out[:words]
        late = bitmaps.from_mask(age > self.session_ttl_s)
        moved = bitmaps.to_rows(live ^ self.live[:words])
        turned = bitmaps.to_rows(late ^ self.late[:words])
        columns.f_state[turned] = np.where(bitmaps.test_rows(late, turned), DEGRADED, ONLINE)
        self.live[:words], self.late[:words] = live, late
        soon_late = bitmaps.from_mask(age > self.session_ttl_s - HORIZON_S) & ~late
        soon_gone = bitmaps.from_mask(age > self.grace_s - HORIZON_S)
        self._soon = bitmaps.to_rows(live & (soon_late | soon_gone))
        self._swept_at = now
        self._plan(now)
        return moved

    def _check(self, now: float) -> Rows:
        """Settle those that the last sweep noted: time only takes them further."""
        rows, words = self._soon, len(self.live)
        age = now - self.columns.last_seen[rows]
        turned = rows[age > self.session_ttl_s]
        self.columns.f_state[turned] = DEGRADED
        self.late |= bitmaps.from_rows(turned, words)
        gone = rows[(age > self.grace_s) & bitmaps.test_rows(self.live, rows)]
        self.live &= ~bitmaps.from_rows(gone, words)
        self._plan(now)
        return gone

    def _plan(self, now: float) -> None:
        """The next check is due when the first of the noted may change, or for the next sweep."""
        age = now - self.columns.last_seen[self._soon]
        left = np.where(age > self.session_ttl_s, self.grace_s, self.session_ttl_s) - age
        self._next_check = min(self._swept_at + HORIZON_S, now + float(left.min(initial=INF, where=left >= 0)))

    def settle_load(self, slot: int) -> None:
        """Bring what follows from load and latency in step with them: free, f_load and eta_ms (contract, section 4)."""
        columns = self.columns
        slots, occupied = columns.max_parallel.item(slot), columns.own.item(slot) + columns.foreign.item(slot)
        free = slots - occupied
        if bitmaps.has_bit(self.free, slot) != (free > 0):
            bitmaps.put_bit(self.free, slot, free > 0)
        columns.f_load[slot] = free / (free + 1) if free > 0 else 0.0
        columns.settle_merit(slot)
        latency = columns.latency.item(slot)
        eta = -1 if math.isnan(latency) else round(latency * (1 + occupied / slots))
        columns.eta_ms[slot] = eta
        columns.u_eta[slot] = min(max(eta, 0), WIDE)

    def settle_load_rows(self, rows: Rows) -> None:
        """As settle_load(); no slot twice."""
        columns = self.columns
        slots, occupied = columns.max_parallel[rows].astype(np.int64), columns.own[rows] + columns.foreign[rows]
        free = slots - occupied
        room = free > 0
        words = len(self.free)
        self.free &= ~bitmaps.from_rows(rows[~room], words)
        self.free |= bitmaps.from_rows(rows[room], words)
        columns.f_load[rows] = np.where(room, free / np.maximum(free + 1, 1), 0.0)
        columns.settle_merit(rows)
        eta = np.rint(columns.latency[rows] * (1 + occupied / slots))
        columns.eta_ms[rows] = np.where(np.isnan(eta), -1, eta)
        columns.u_eta[rows] = np.where(np.isnan(eta), 0, np.minimum(eta, WIDE)).astype(np.uint32)

    def nbytes(self) -> int:
        return len(SETS) * self.present.nbytes
