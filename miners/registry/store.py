"""The live registry: a columnar copy of every miner, in each process, which alone answers a match.

Guarantees. One owner: every public method takes `lock`, and a caller that reads the columns holds it meanwhile, since
NumPy lets go of the GIL inside copies and a reader would see torn rows. Rows are idempotent and ordered by version;
reports are ordered by the miner's own ts where it is near the hub's clock. The clock is an argument: nothing here
reads one. A crash loses what was reported since the last write-behind, and no durable fact.
"""

import math
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from miners.registry import beats, bitmaps, filling, listing, merging, views, writing
from miners.registry.attested import Attestations
from miners.registry.bitmaps import Rows
from miners.registry.columns import INF, SEGMENT_BITS, Columns
from miners.registry.forgetting import Trust
from miners.registry.market import Find, Market
from miners.registry.order import IdOrder
from miners.registry.pks import Pks
from miners.registry.prices import Prices
from miners.registry.ranges import RangeIndex
from miners.registry.ranks import Ranks
from miners.registry.records import LiveStatus, MinerRow, MinerView, Report, State
from miners.registry.roundtrips import RoundTrips
from miners.registry.states import States
from miners.registry.tables import Table
from miners.registry.terms import Terms

MAX_REMOVED = 100_000
SPARE = 16  # one in so many slots is for miners to come, where their number is known

# a double tells 2.4e-7 s apart at this epoch: sixteen writers fit between two points of the grid
STAMP_STEP_S, STAMP_WRITERS = 2.0**-21, 16
STAMP_GRID_S = STAMP_STEP_S * STAMP_WRITERS


class Ledger(Protocol):
    """Who counts the live reservations and holds, and alone calls `add_own`. Called with the registry's lock held."""

    def expire(self, now: float) -> None:
        """End what has run out by now."""

    def forget(self, miner_id: str) -> None:
        """Drop what a miner that is removed holds."""


class Registry:
    ledger: Ledger | None = None  # set by whoever reserves; without it nothing is ever held
    moved: list[int] | None = None  # where it is set, add_own notes its slots; under one hold of the lock

    def __init__(
        self,
        *,
        session_ttl_s: float,
        grace_s: float,
        half_life_s: float,
        capacity: int = 1024,
        rank_max_age_s: float = 1.0,
    ) -> None:
        self.lock = threading.RLock()
        self.slots: dict[str, int] = {}
        self.ids: list[str] = []  # by slot; "" = free
        self.addrs: list[str] = []
        self.codes: list[bytes] = []  # term codes of a slot: region, proto, GPU, then accel, tags, capabilities
        self._free_slots: list[int] = []
        self._dirty: set[int] = set()
        self.removed: set[int] = set()  # primary keys of miners that are gone for good
        self.edits: Counter[int] = Counter()  # how often a row of a segment was written, for those who copy them
        capacity = max(64, (capacity + 63) & ~63)
        words = bitmaps.words_for(capacity)
        self.columns = Columns(capacity)
        self.terms = Terms(words)
        self.ranges = {name: RangeIndex(words) for name in writing.RANGED}
        self.states = States(self.columns, session_ttl_s=session_ttl_s, grace_s=grace_s)
        self.trust = Trust(self.columns, half_life_s=half_life_s)
        self.prices = Prices(self.columns)
        self.roundtrips = RoundTrips()
        self.attested = Attestations()
        self.market = Market(self.columns)
        self.ranks = Ranks(self.columns, self.states, self.terms, max_age_s=rank_max_age_s)
        self.order = IdOrder()
        self.pks = Pks()
        self.outbox: list[beats.Beat] | None = None  # reports for the other processes, where there are any
        self._local: set[int] = set()  # slots whose reports came to this process
        self._stamp = 0.0

    # ---- what a match needs; the caller holds the lock

    @property
    def size(self) -> int:
        """Slots ever given away: every array is read up to here."""
        return len(self.ids)

    def refresh(self, now: float) -> None:
        """Bring everything that follows from the time up to now."""
        self._expire(now)
        self._end_attestations(now)
        moved = self.states.refresh(now, self.size)
        if moved is not None:
            for region in np.unique(self.columns.region[moved]):
                self.ranks.touch(int(region))
        self.prices.refresh(now)
        self.trust.refresh(now, self.size)
        self.ranks.refresh(now, bitmaps.words_for(self.size))

    # ---- durable rows

    def upsert(self, row: MinerRow, *, now: float, last_seen: float | None = None) -> bool:
        """Take a row; False where the version held is newer or the same. last_seen = a contact at that time."""
        with self.lock:
            if row.pk in self.removed:
                return False
            slot = self.slots.get(row.miner_id)
            if slot is not None and row.pk != (held := int(self.columns.pk[slot])):
                # removed and made anew under the same id: the later one counts, whichever comes first
                if row.pk < held:
                    return False
                self.remove(row.miner_id)
                slot = None
            if slot is not None and row.version <= self.columns.version[slot]:
                return False
            if slot is None:
                slot = self._allocate(row.miner_id)
                self.order.add(row.miner_id, self.slots, self.columns.id_order)
            writing.write_row(self, slot, row, now)
            if last_seen is not None:
                self._contact(slot, last_seen)
            return True

    def load(self, tables: Iterable[Table], *, now: float, expected: int = 0) -> None:
        """Take miners that are new here, with what each last reported. expected: how many there may be in all.

        ValueError for one that is known: then nothing of its table is taken.
        """
        with self.lock:
            self.make_room(expected)
            new: list[str] = []
            try:
                for table in tables:
                    ids = table.texts["miner_id"]
                    if len(set(ids)) < len(ids) or not self.slots.keys().isdisjoint(ids):
                        raise ValueError("a miner that is loaded must be new")
                    new += ids
                    slots = np.fromiter(map(self._allocate, ids), np.intp, len(ids))
                    if ids:
                        filling.fill(self, slots, table, now)
            finally:
                self.order.add_all(new, self.slots, self.columns.id_order)

    def remove(self, miner_id: str, *, pk: int | None = None) -> bool:
        """With pk only the miner of that key, and no row of it is taken any more."""
        with self.lock:
            if pk:
                self.removed.add(pk)
                if len(self.removed) > MAX_REMOVED:
                    self.removed.clear()
            slot = self.slots.get(miner_id)
            if slot is None or (pk and pk != self.columns.pk[slot]):
                return False
            if self.ledger is not None:
                self.ledger.forget(miner_id)
            writing.drop_terms(self, slot)
            for index in self.ranges.values():
                index.drop(slot)
            self.order.remove(miner_id)
            self.ranks.touch(int(self.columns.region[slot]))
            self.prices.put(slot, (), -INF)
            self.attested.forget(slot)
            self.pks.drop(int(self.columns.pk[slot]))
            self.states.clear(slot)
            self.columns.clear(slot)
            self.columns.generation[slot] += 1
            del self.slots[miner_id]
            self.ids[slot] = self.addrs[slot] = ""
            self.codes[slot] = b""
            self._dirty.discard(slot)
            self._local.discard(slot)
            self.edited(slot)
            self._free_slots.append(slot)
            return True

    def set_market(self, find: Find) -> None:
        """Have every miner compared with another market from now on."""
        with self.lock:
            self.market.replace(self, find)

    # ---- live data

    def touch(self, miner_id: str, *, now: float) -> bool:
        """Renew the lease; False where the miner is unknown."""
        with self.lock:
            slot = self.slots.get(miner_id)
            if slot is None:
                return False
            self._contact(slot, now)
            return True

    def report(self, miner_id: str, report: Report) -> bool:
        """Renew the lease and apply what is named; False where the miner is unknown or the report came late."""
        with self.lock:
            slot = self.slots.get(miner_id)
            if slot is None:
                return False
            self._expire(report.at)
            columns, at = self.columns, report.at
            late = report.ts is not None and report.ts < columns.ts.item(slot)
            told = Report(at=at) if late else report
            if self.outbox is not None:
                at = self.stamped(at)
                self._local.add(slot)
                self.outbox.append(beats.beat_of(columns.pk.item(slot), told, at, columns.own.item(slot)))
            self._contact(slot, at)
            merging.apply_report(self, slot, told, at)
            return not late

    def merge(self, batch: beats.Beats) -> NDArray[np.uint64]:
        """Reports that came to other processes; the primary keys that are not known here."""
        with self.lock:
            return merging.apply_beats(self, batch)

    def join(self, writer: int) -> None:
        """Keep every report for the other processes from now on, in `outbox`."""
        with self.lock:
            self._stamp = (writer % STAMP_WRITERS) * STAMP_STEP_S
            self.outbox = []

    @property
    def stretch(self) -> float:
        """By how much leases and grace are lengthened, >= 1."""
        return self.states.stretch

    def set_stretch(self, stretch: float) -> bool:
        """False where it was that already."""
        with self.lock:
            if stretch == self.states.stretch:
                return False
            self.states.stretch = stretch
            self.states.expire_at_once()
            return True

    def reported_here(self) -> Rows:
        """The slots that reported to this process, except those that are long gone; the caller holds the lock."""
        rows = np.fromiter(self._local, np.intp, len(self._local))
        recent = self.columns.last_seen[rows] >= self.columns.last_seen[rows].max(initial=-INF) - self.states.grace_s
        self._local.intersection_update(rows[recent].tolist())
        kept: Rows = rows[recent]
        return kept

    def stamped(self, at: float) -> float:
        """The time, moved by less than 8 µs, so that no two writers ever give the same one."""
        return math.floor(at / STAMP_GRID_S) * STAMP_GRID_S + self._stamp

    def add_own(self, miner_id: str, delta: int) -> None:
        """Count a reservation or hold that began (+1) or ended (-1); the ledger alone calls this."""
        with self.lock:
            slot = self.slots.get(miner_id)
            if slot is not None:
                self.columns.own[slot] = max(0, int(self.columns.own[slot]) + delta)
                self.states.settle_load(slot)
                if self.moved is not None:
                    self.moved.append(slot)

    def free_slots(self, miner_id: str) -> int:
        """max_parallel - occupied, 0 where it is less or the miner is unknown."""
        return max(0, self.room(miner_id))

    def room(self, miner_id: str) -> int:
        """max_parallel - occupied, below 0 where more is occupied than there is; 0 where the miner is unknown."""
        with self.lock:
            slot = self.slots.get(miner_id)
            if slot is None:
                return 0
            columns = self.columns
            return int(columns.max_parallel[slot]) - int(columns.own[slot]) - int(columns.foreign[slot])

    def drain_dirty(self) -> list[tuple[str, LiveStatus]]:
        """What was reported since the last call, for write-behind."""
        with self.lock:
            slots, self._dirty = self._dirty, set()
            return [(self.ids[slot], views.live_of(self, slot)) for slot in slots]

    # ---- questions about one miner

    def __len__(self) -> int:
        return len(self.slots)

    def __contains__(self, miner_id: str) -> bool:
        return miner_id in self.slots

    def session_of(self, miner_id: str) -> int | None:
        with self.lock:
            slot = self.slots.get(miner_id)
            return None if slot is None else int(self.columns.session[slot])

    def standing_of(self, miner_id: str, *, now: float) -> tuple[int, bool, bool] | None:
        """Session, disabled, offline, in one look; None for an unknown miner."""
        with self.lock:
            slot = self.slots.get(miner_id)
            if slot is None:
                return None
            disabled = bitmaps.has_bit(self.states.disabled, slot)
            return self.columns.session.item(slot), disabled, self.is_silent(slot, now)

    def key_tag_of(self, miner_id: str) -> int | None:
        with self.lock:
            slot = self.slots.get(miner_id)
            return None if slot is None else int(self.columns.key_tag[slot])

    def versions_of(self, pks: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Row versions by primary key, -1 for one that is unknown; the caller holds the lock."""
        slots = self.pks.slots_of(pks)
        versions: NDArray[np.int64] = np.where(slots >= 0, self.columns.version[np.maximum(slots, 0)], -1)
        return versions

    def pks_beside(self, pks: NDArray[np.int64]) -> list[tuple[int, str]]:
        """Key and id of every miner here whose primary key is not among these; the caller holds the lock."""
        held = self.columns.pk[: self.size]
        rows = np.flatnonzero((held > 0) & ~np.isin(held, pks))
        return [(int(held[slot]), self.ids[slot]) for slot in rows.tolist()]

    def lease_expires_at(self, miner_id: str) -> float:
        """Epoch seconds; KeyError for an unknown miner."""
        with self.lock:
            return float(self.columns.last_seen[self.slots[miner_id]]) + self.states.session_ttl_s

    def get(self, miner_id: str, *, now: float) -> MinerView | None:
        with self.lock:
            slot = self.slots.get(miner_id)
            if slot is None:
                return None
            self._expire(now)
            self._end_attestations(now)
            self.prices.refresh(now)
            return views.view_of(self, slot, now)

    def page(
        self,
        *,
        now: float,
        limit: int,
        cursor: str | None = None,
        state: str | None = None,
        region: str | None = None,
        capability: str | None = None,
        tag: str | None = None,
        min_vram_gb: float | None = None,
        q: str | None = None,
    ) -> tuple[list[MinerView], str | None]:
        """Miners in the order of their ids, after the cursor (the last id seen), and the next cursor or None.

        region is taken as a match takes it, as a prefix too; q is a substring of id, address or GPU name.
        """
        wanted = listing.Wanted(
            state=state, region=region, capability=capability, tag=tag, min_vram_gb=min_vram_gb, q=q
        )
        with self.lock:
            self.refresh(now)
            return listing.page(self, wanted, now=now, limit=limit, cursor=cursor)

    def counts(self, *, now: float) -> dict[str, dict[State, int]]:
        """Miners by region and state; states that nobody is in are left out."""
        with self.lock:
            self.refresh(now)
            return listing.counts(self)

    def mean_latency_ms(self, *, now: float) -> float | None:
        """The mean effective latency of the miners that could be matched, None where none is known."""
        with self.lock:
            self.refresh(now)
            return listing.mean_latency_ms(self)

    # ---- inside

    def _expire(self, now: float) -> None:
        if self.ledger is not None:
            self.ledger.expire(now)

    def _end_attestations(self, now: float) -> None:
        for slot in self.attested.ended(now):
            writing.write_row(self, slot, views.row_of(self, slot), now)

    def is_silent(self, slot: int, now: float) -> bool:
        """Offline by slot; the caller holds the lock."""
        silent = now - self.columns.last_seen.item(slot) > self.states.grace_s
        return silent or bitmaps.has_bit(self.states.logged_out, slot)

    def edited(self, slots: Rows | int) -> None:
        """Rows were written, or given away."""
        if isinstance(slots, int):
            self.edits[slots >> SEGMENT_BITS] += 1
        else:
            self.edits.update(np.unique(slots >> SEGMENT_BITS).tolist())

    def make_room(self, expected: int) -> None:
        """For so many miners in all, and a few more."""
        if expected > self.columns.capacity:
            self._grow((expected + max(expected // SPARE, 1024)) & ~63)

    def take_names(self, ids: Sequence[str], addrs: Sequence[str], codes: Sequence[bytes]) -> None:
        """The next slots, as another registry has them; "" = free."""
        first = len(self.ids)
        self.ids += ids
        self.addrs += addrs
        self.codes += codes
        new = {miner_id: slot for slot, miner_id in enumerate(ids, first) if miner_id}
        self.slots |= new
        self._free_slots += [slot for slot, miner_id in enumerate(ids, first) if not miner_id]

    def _allocate(self, miner_id: str) -> int:
        if self._free_slots:
            slot = self._free_slots.pop()
            self.ids[slot] = miner_id
        else:
            slot = len(self.ids)
            if slot == self.columns.capacity:
                self._grow(slot + (max(slot // 4, 1024) & ~63))
            self.ids.append(miner_id)
            self.addrs.append("")
            self.codes.append(b"")
        self.slots[miner_id] = slot
        return slot

    def _grow(self, capacity: int) -> None:
        words = bitmaps.words_for(capacity)
        self.columns.grow(capacity)
        self.states.grow(words)
        self.terms.grow(words)
        for index in self.ranges.values():
            index.grow(words)

    def _contact(self, slot: int, now: float) -> None:
        self._dirty.add(slot)
        if self.states.contact(slot, now):
            self.ranks.touch(int(self.columns.region[slot]))
