"""What issuers vouch for, over what miners claim, until its time is over; then each registry falls back by itself.

The columns hold the attested values while they are in force; here is what they hide. Source: contract, section 9.
"""

import heapq
from dataclasses import dataclass, replace

from miners.registry.records import NOTHING_ATTESTED, Attested, MinerRow

MAX_ENDED = 256  # rows written anew before one match: 17 ms, were an issuer to let thousands expire at one moment


@dataclass(frozen=True, slots=True)
class Hidden:
    claims: Attested  # the miner's own values of all that is attested
    until: float  # epoch seconds


class Attestations:
    def __init__(self) -> None:
        self._hidden: dict[int, Hidden] = {}  # by slot
        self._ends: list[tuple[float, int]] = []

    def cover(self, slot: int, row: MinerRow, now: float) -> MinerRow:
        """The row as matching takes it: with what is attested, where that is in force."""
        if row.attested_until <= now:
            self.forget(slot)
            return replace(row, attested=NOTHING_ATTESTED, attested_until=0.0) if row.attested_until else row
        claims = Attested(**{name: getattr(row, name) for name in row.attested.values()})
        self.hide(slot, Hidden(claims, row.attested_until))
        return row.covered()

    def hide(self, slot: int, hidden: Hidden) -> None:
        held = self._hidden.get(slot)
        self._hidden[slot] = hidden
        if held is None or held.until != hidden.until:  # or each change of the row would leave an end here
            heapq.heappush(self._ends, (hidden.until, slot))

    def forget(self, slot: int) -> None:
        self._hidden.pop(slot, None)

    def claimed(self, slot: int, shown: MinerRow) -> MinerRow:
        """The row that cover() was given, from what it returned."""
        hidden = self._hidden.get(slot)
        if hidden is None:
            return shown
        claims = hidden.claims.values()
        attested = Attested(**{name: getattr(shown, name) for name in claims})
        return replace(shown, **claims, attested=attested, attested_until=hidden.until)

    def all_hidden(self) -> dict[int, Hidden]:
        """By slot, of those that have any."""
        return dict(self._hidden)

    def ended(self, now: float) -> list[int]:
        """Slots whose attestation is over, each told once, MAX_ENDED at most: the rest are told next time."""
        slots: list[int] = []
        while self._ends and self._ends[0][0] <= now and len(slots) < MAX_ENDED:
            until, slot = heapq.heappop(self._ends)
            hidden = self._hidden.get(slot)
            if hidden is not None and hidden.until == until:  # else it was replaced, or the slot given away
                slots.append(slot)
        return slots
