"""API keys and session tokens: what is stored of them, how they are made and read.

A key is stored as a keyed hash only; a token is not stored at all. It names a miner and the number of its session, is
signed, and lives as long as that number is the miner's newest. Numbers never repeat, so a token that has ended stays
ended, whatever else happens to the miner.
"""

import hashlib
import hmac
import secrets

from django.conf import settings
from django.core.signing import BadSignature, Signer

SALT = "poolhub.session"
NEVER = "-"  # stands for a hash that no key has


def hash_api_key(key: str) -> str:
    """64 hex digits. A lone surrogate hashes too: it is refused like any wrong key, and never an error."""
    secret = settings.API_KEY_PEPPER.encode()
    return hmac.new(secret, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def key_tag(api_key_hash: str) -> int:
    """The first 8 bytes as an unsigned integer; 0 where there is no key."""
    return int(api_key_hash[:16] or "0", 16)


def key_matches(given_hash: str, stored_hash: str) -> bool:
    return hmac.compare_digest(given_hash.encode(), (stored_hash or NEVER).encode())


def new_api_key() -> str:
    return secrets.token_urlsafe(32)


def next_session(previous: int, now: float) -> int:
    """The time as whole microseconds, which the registry reads back as the time at which the session began.

    Greater than every earlier one, also where the database was set back to a backup.
    """
    return max(previous + 1, int(now * 1e6))


def token_issue(miner_id: str, session: int) -> str:
    return Signer(salt=SALT).sign(f"{miner_id}/{session}")


def token_read(token: str) -> tuple[str, int] | None:
    """Whom a token names, None where the hub never issued it. Says nothing about whether it still lives."""
    try:
        miner_id, _, session = Signer(salt=SALT).unsign(token).rpartition("/")
    except (BadSignature, UnicodeEncodeError):  # a lone surrogate cannot be signed
        return None
    return miner_id, int(session)
