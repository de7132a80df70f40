"""The registry as the contract tells it (sections 3 to 6): a dict, one miner at a time, nothing derived and kept."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from miners.registry.market import FarOff, Find, MarketPosition, nothing
from miners.registry.records import LiveStatus, MinerRow, MinerView, PriceSource, Report, State

EMPTY: dict[str, Any] = {
    "ts": None, "queue_len": 0, "busy": False, "jobs": 0, "latency_ms": None, "temp_c": None, "mem_free_gb": None,
}  # fmt: skip


@dataclass
class ModelMiner:
    row: MinerRow
    last_seen: float = -math.inf
    ts: float | None = None
    queue_len: int = 0
    busy: bool = False
    jobs: int = 0
    own: int = 0
    own_then: int = 0  # own at the newest load report
    since: float = -math.inf  # when the session began
    times: dict[str, float] = field(default_factory=dict)  # of what each reported field holds
    latency_ms: float | None = None
    temp_c: float | None = None
    mem_free_gb: float | None = None

    @property
    def foreign(self) -> int:
        return max(0, max(self.queue_len, self.jobs, int(self.busy)) - self.own_then)

    def time(self, name: str) -> float:
        return self.times.get(name, -math.inf)

    @property
    def load_time(self) -> float:
        return max(self.time("queue_len"), self.time("jobs"), self.time("busy"))

    @property
    def occupied(self) -> int:
        return self.own + self.foreign

    @property
    def free(self) -> int:
        return self.row.max_parallel - self.occupied

    @property
    def latency(self) -> float | None:
        """The hub's own mean once there are 5 measurements, else what the miner reports."""
        return self.row.latency_mean if self.row.latency_count >= 5 else self.latency_ms

    @property
    def eta_ms(self) -> int | None:
        if self.latency is None:
            return None
        return round(self.latency * (1 + self.occupied / self.row.max_parallel))

    def price(self, now: float) -> tuple[int, PriceSource]:
        """Units and source: the override in force, else the miner's own, never above its cap."""
        price, source = self.row.price, PriceSource.OWN
        in_force = [each for each in self.row.overrides if each.starts_at <= now < each.ends_at]
        if in_force:
            price, source = in_force[0].price, PriceSource.OVERRIDE
        if self.row.price_cap is not None and price > self.row.price_cap:
            return self.row.price_cap, PriceSource.CAP
        return price, source

    def begin_session(self, since: float) -> None:
        """What was reported before counts for nothing."""
        self.since = since
        for name, empty in EMPTY.items():
            if self.time(name) <= since:
                setattr(self, name, empty)
                self.times.pop(name, None)
        if self.load_time == -math.inf:
            self.own_then = 0

    def take(self, name: str, at: float, value: Any) -> None:
        """The newest of each field wins, whenever it comes."""
        if at >= self.time(name):
            setattr(self, name, value)
            self.times[name] = at


@dataclass
class ModelRegistry:
    session_ttl_s: float
    grace_s: float
    half_life_s: float
    miners: dict[str, ModelMiner] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    roundtrips: dict[tuple[str, str], float] = field(default_factory=dict)  # ms
    find: Find = nothing  # the market

    # ---- what happens to it

    def upsert(self, row: MinerRow, *, now: float, last_seen: float | None = None) -> bool:
        miner = self.miners.get(row.miner_id)
        known = miner is not None
        if miner is None:
            miner = self.miners[row.miner_id] = ModelMiner(row)
        elif row.version <= miner.row.version:
            return False
        if (not known or row.session != miner.row.session) and not row.logged_out:
            miner.begin_session(min(now, row.session / 1e6))
        miner.row = row
        if last_seen is not None:
            self.touch(row.miner_id, now=last_seen)
        return True

    def load(self, rows: list[tuple[MinerRow, LiveStatus | None]], *, now: float) -> None:
        for row, live in rows:
            if self.upsert(row, now=now) and live is not None:
                miner = self.miners[row.miner_id]
                miner.last_seen, miner.own_then = live.last_seen, live.own
                for name in EMPTY:
                    setattr(miner, name, getattr(live, name))
                    miner.times[name] = live.last_seen

    def remove(self, miner_id: str) -> bool:
        self.unsaved.discard(miner_id)
        return self.miners.pop(miner_id, None) is not None

    def touch(self, miner_id: str, *, now: float) -> bool:
        if miner_id not in self.miners:
            return False
        self.miners[miner_id].last_seen = max(self.miners[miner_id].last_seen, now)
        self.unsaved.add(miner_id)
        return True

    def report(self, miner_id: str, report: Report) -> bool:
        if not self.touch(miner_id, now=report.at):
            return False
        miner = self.miners[miner_id]
        if report.ts is not None and miner.ts is not None and report.ts < miner.ts:
            return False
        if report.at < miner.since:
            return True
        named = {name: getattr(report, name) for name in EMPTY if getattr(report, name) is not None}
        if {"queue_len", "busy", "jobs"} & named.keys() and report.at >= miner.load_time:
            miner.own_then = miner.own
        for name, value in named.items():
            miner.take(name, report.at, None if math.isnan(value) else value)
        return True

    def add_own(self, miner_id: str, delta: int) -> None:
        if miner_id in self.miners:
            self.miners[miner_id].own = max(0, self.miners[miner_id].own + delta)

    def drain_dirty(self) -> dict[str, LiveStatus]:
        saved, self.unsaved = self.unsaved, set()
        return {miner_id: self.live(self.miners[miner_id]) for miner_id in saved}

    # ---- what it knows

    def live_by_contact(self, miner: ModelMiner, now: float) -> bool:
        return not miner.row.logged_out and now - miner.last_seen <= self.grace_s

    def late(self, miner: ModelMiner, now: float) -> bool:
        return now - miner.last_seen > self.session_ttl_s

    def state(self, miner: ModelMiner, now: float) -> State:
        if miner.row.disabled:
            return State.DISABLED
        if not self.live_by_contact(miner, now):
            return State.OFFLINE
        if miner.row.draining or miner.row.operator_drain:
            return State.DRAINING
        return State.DEGRADED if self.late(miner, now) else State.ONLINE

    def trust(self, miner: ModelMiner, now: float) -> float:
        left = 0.5 ** (max(0.0, now - miner.row.trust_at) / self.half_life_s)
        s, f = miner.row.trust_s * left, miner.row.trust_f * left
        return (2 + s) / (4 + s + f)

    def latency_components(self, now: float) -> dict[str, float]:
        """1 - r/n among the live, enabled miners of the region whose latency is known; 0.5 unknown."""
        known: dict[str, list[float]] = {}
        for miner in self.miners.values():
            if self.live_by_contact(miner, now) and not miner.row.disabled and miner.latency is not None:
                known.setdefault(miner.row.region, []).append(miner.latency)
        result = {}
        for miner_id, miner in self.miners.items():
            others = known.get(miner.row.region, [])
            if miner.latency is None or not others:
                result[miner_id] = 0.5
            else:
                result[miner_id] = 1 - sum(each < miner.latency for each in others) / len(others)
        return result

    def live(self, miner: ModelMiner) -> LiveStatus:
        names = (
            "last_seen", "ts", "queue_len", "busy", "jobs", "foreign", "own", "latency_ms", "temp_c", "mem_free_gb",
        )  # fmt: skip
        return LiveStatus(**{name: getattr(miner, name) for name in names})

    def view(self, miner: ModelMiner, now: float) -> MinerView:
        price, source = miner.price(now)
        over = miner.row.attested_until <= now
        return MinerView(
            row=replace(miner.row, attested_until=0.0) if over else miner.row,
            live=self.live(miner),
            state=self.state(miner, now),
            price=price,
            price_source=source,
            trust=self.trust(miner, now),
            lease_expires_at=miner.last_seen + self.session_ttl_s,
            reservations=miner.own,
            market=self.market(miner, price),
        )

    def market(self, miner: ModelMiner, price: int) -> MarketPosition | None:
        entry = self.find(miner.row.gpu_name, miner.row.region)
        if entry is None:
            return None
        ratio = round(price / entry.median, 6) if entry.median else None
        not_dearer = sum(each <= price for each in entry.quantiles) / len(entry.quantiles)
        far = FarOff.LOW if price < entry.median / 4 else FarOff.HIGH if price > entry.median * 4 else None
        return MarketPosition(entry.model, entry.region, entry.median, ratio, round(100 * not_dearer, 2), far)

    def counts(self, now: float) -> dict[str, dict[State, int]]:
        result: dict[str, dict[State, int]] = {}
        for miner in self.miners.values():
            states = result.setdefault(miner.row.region, {})
            state = self.state(miner, now)
            states[state] = states.get(state, 0) + 1
        return result

    def mean_latency_ms(self, now: float) -> float | None:
        known = [
            miner.latency
            for miner in self.miners.values()
            if self.state(miner, now) in (State.ONLINE, State.DEGRADED) and miner.latency is not None
        ]
        return math.fsum(known) / len(known) if known else None

    def page(self, *, now: float, **wanted: Any) -> list[str]:
        """The ids that a listing with these filters shows, all pages together."""
        found = []
        for miner_id in sorted(self.miners):
            miner = self.miners[miner_id]
            row, q = miner.row, wanted.get("q")
            region = wanted.get("region")
            if (
                wanted.get("state") in (None, self.state(miner, now))
                and (region is None or row.region == region or row.region.startswith(region + "-"))
                and wanted.get("capability") in (None, *row.capabilities)
                and wanted.get("tag") in (None, *row.tags)
                and (wanted.get("min_vram_gb") or 0) <= row.gpu_vram
                and (q is None or any(q.lower() in text.lower() for text in (miner_id, row.addr, row.gpu_name)))
            ):
                found.append(miner_id)
        return found
