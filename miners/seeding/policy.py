"""What a miner does when its socket ends, by the contract's section 3; pure."""

from enum import Enum, auto
from random import Random

from miners import connections

SERVICE_RESTART = 1012  # RFC 6455's registry: some servers say it for the hub

RESTART_SPREAD_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
JITTER = 0.1  # a heartbeat comes up to that share early, so that miners who started together drift apart
STABLE_S = 30.0  # a connection that held so long forgets the failures before it


class Reaction(Enum):
    CONNECT = auto()  # again with the same token, after a growing pause
    SOON = auto()  # again with the same token, after a random 0 to 5 s
    REGISTER = auto()  # the token is dead: a new one first
    STOP = auto()  # somebody wants it so


REACTIONS = {
    connections.ENDED: Reaction.REGISTER,
    connections.DISABLED: Reaction.STOP,
    connections.REPLACED: Reaction.STOP,
    connections.RESTART: Reaction.SOON,
    SERVICE_RESTART: Reaction.SOON,
}
REASONS = {
    connections.DISABLED: "disabled by an operator",
    connections.REPLACED: "replaced by another connection of the same miner",
}


def reaction(code: int | None) -> Reaction:
    """To the close code of a socket, None where it broke without one or never opened."""
    return Reaction.CONNECT if code is None else REACTIONS.get(code, Reaction.CONNECT)


def until_next_s(rhythm_s: float, rng: Random) -> float:
    """From one heartbeat to the next: never later than the hub asks."""
    return rhythm_s * rng.uniform(1 - JITTER, 1)


class Backoff:
    """Pauses that double up to LONGEST_PAUSE_S; each is somewhere in the upper half of what it may be."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._failures = 0

    def pause_s(self) -> float:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        return longest * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._failures = 0
