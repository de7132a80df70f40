"""Who is calling: session tokens against the registry, api keys against the database behind a small cache."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto

from miners.models import Miner
from miners.registry.loader import miner_refresh
from miners.registry.runtime import get_registry
from miners.registry.store import Registry
from miners.sessions import hash_api_key, key_tag, token_read
from poolhub.common.errors import Forbidden, Unauthorized

MAX_OWNERS = 16_384
OWNER_MAX_AGE_S = 300.0  # how long another process's enrolment of a second miner with the same key may go unnoticed


@dataclass(frozen=True, slots=True)
class Session:
    miner_id: str
    number: int


class Standing(Enum):
    LIVE = auto()
    ENDED = auto()
    DISABLED = auto()
    UNSEEN = auto()  # newer than what this process holds: another one may have begun it


def standing(registry: Registry, session: Session, *, now: float) -> Standing:
    found = registry.standing_of(session.miner_id, now=now)
    if found is None:
        return Standing.UNSEEN
    held, is_disabled, is_offline = found
    if session.number != held:
        return Standing.UNSEEN if session.number > held else Standing.ENDED
    if is_disabled:
        return Standing.DISABLED
    return Standing.ENDED if is_offline else Standing.LIVE


def session_standing(session: Session, *, now: float) -> Standing:
    """As standing(), with a look into the database where this process may be behind."""
    registry = get_registry()
    found = standing(registry, session, now=now)
    if found is Standing.UNSEEN:
        miner_refresh(registry, session.miner_id)
        found = standing(registry, session, now=now)
    return found


def session_read(token: str | None) -> Session | None:
    named = token_read(token) if token else None
    return Session(*named) if named else None


def require_live(found: Standing) -> None:
    if found is Standing.DISABLED:
        raise disabled()
    if found is not Standing.LIVE:
        raise ended()


def ended() -> Unauthorized:
    return Unauthorized("the session token is missing, wrong or has ended; register again")


def disabled() -> Forbidden:
    return Forbidden("this miner is disabled by an operator", code="disabled")


def wrong_key() -> Unauthorized:
    return Unauthorized("the miner id or the api key is wrong")


class KeyOwners:
    """Which miner an api key belongs to: a bounded cache in front of the database, by the key's hash.

    An entry holds only while the registry's row of that miner carries the same key.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[str, str | None], tuple[str, float]] = OrderedDict()

    def seen(self, api_key: str, named: str | None, *, now: float) -> str | None:
        """The key's miner, where this process has found it before."""
        api_key_hash = hash_api_key(api_key)
        with self._lock:
            owner, read_at = self._found.get((api_key_hash, named), (None, 0.0))
        fresh = 0 <= now - read_at < OWNER_MAX_AGE_S
        return owner if fresh and owner and get_registry().key_tag_of(owner) == key_tag(api_key_hash) else None

    def find(self, api_key: str, named: str | None, *, now: float) -> str | None:
        """The key's miner; of several with one key the one that is named, None where none is."""
        owner = self.seen(api_key, named, now=now)
        if owner is not None:
            return owner
        api_key_hash = hash_api_key(api_key)
        registry = get_registry()
        owner = self._read(api_key_hash, named)
        if owner is None:
            return None
        if registry.key_tag_of(owner) != key_tag(api_key_hash):
            miner_refresh(registry, owner)
        with self._lock:
            self._found[api_key_hash, named] = owner, now
            self._found.move_to_end((api_key_hash, named))
            if len(self._found) > MAX_OWNERS:
                self._found.popitem(last=False)
        return owner

    @staticmethod
    def known(api_key: str) -> bool:
        return Miner.objects.filter(api_key_hash=hash_api_key(api_key)).exists()

    def forget(self, api_key_hash: str) -> None:
        """To be called when a miner takes this key: it may no longer name one miner alone."""
        with self._lock:
            self._found.pop((api_key_hash, None), None)

    @staticmethod
    def _read(api_key_hash: str, named: str | None) -> str | None:
        owners = Miner.objects.filter(api_key_hash=api_key_hash)
        if named is not None:
            owners = owners.filter(miner_id=named)
        found = list(owners.values_list("miner_id", flat=True)[:2])
        return found[0] if len(found) == 1 else None


key_owners = KeyOwners()
