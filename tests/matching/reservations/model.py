"""Holds and reservations as the contract tells them (section 6): dicts, one job at a time, nothing derived and kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class ModelHold:
    miner_id: str
    ends: float
    candidates: tuple[str, ...]
    accepted: bool = False


@dataclass
class ModelReservation:
    id: str
    miner_id: str
    ttl_s: float
    ends: float


@dataclass
class ModelMiner:
    max_parallel: int
    foreign: int = 0


@dataclass
class ModelLedger:
    job_ttl_s: float
    miners: dict[str, ModelMiner] = field(default_factory=dict)
    holds: dict[str, ModelHold] = field(default_factory=dict)  # by job
    reservations: dict[str, ModelReservation] = field(default_factory=dict)  # by job

    def expire(self, now: float) -> None:
        self.holds = {job: each for job, each in self.holds.items() if each.ends > now}
        self.reservations = {job: each for job, each in self.reservations.items() if each.ends > now}

    def own(self, miner_id: str, *, without: str | None = None) -> int:
        taken = {**self.holds, **self.reservations}
        return sum(each.miner_id == miner_id for job, each in taken.items() if job != without)

    def free(self, miner_id: str, job: str) -> int:
        """The slots that this job may have; its own counts as free."""
        if miner_id not in self.miners:
            return 0
        miner = self.miners[miner_id]
        return miner.max_parallel - miner.foreign - self.own(miner_id, without=job)

    def report(self, miner_id: str, queue_len: int) -> None:
        self.miners[miner_id].foreign = max(0, queue_len - self.own(miner_id))

    def remove(self, miner_id: str) -> None:
        del self.miners[miner_id]
        self.holds = {job: each for job, each in self.holds.items() if each.miner_id != miner_id}
        self.reservations = {job: each for job, each in self.reservations.items() if each.miner_id != miner_id}

    def hold(self, job: str, candidates: Sequence[str], ends: float) -> None:
        held = self.holds.get(job)
        if held is not None and held.accepted:
            held.candidates = tuple(candidates)
            return
        self.holds.pop(job, None)
        if candidates and job not in self.reservations:
            self.holds[job] = ModelHold(candidates[0], ends, tuple(candidates))

    def reserve(self, job: str, candidates: Sequence[str]) -> str | None:
        """The miner whose slot it would get."""
        if job in self.reservations:
            return self.reservations[job].miner_id
        return next((each for each in candidates if self.free(each, job) > 0), None)

    def reserved(self, job: str, made: ModelReservation) -> None:
        if job not in self.reservations:
            self.holds.pop(job, None)
            self.reservations[job] = made

    def settle(self, job: str, miner_id: str, outcome: str, now: float) -> None:
        held, reserved = self.holds.get(job), self.reservations.get(job)
        if outcome == "accepted":
            if held is not None and (miner_id == held.miner_id or miner_id in held.candidates):
                self.holds[job] = ModelHold(miner_id, now + self.job_ttl_s, held.candidates, accepted=True)
            return
        if held is not None and (outcome != "rejected" or held.miner_id == miner_id):
            del self.holds[job]
        if reserved is not None and (outcome != "rejected" or reserved.miner_id == miner_id):
            del self.reservations[job]
