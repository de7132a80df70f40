"""The command's arguments, from text or from what a caller in Python passes; pure. BadArgument says in one line why."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from miners.seeding.places import Place, places

MAX_DURATION_S = 10 * 365 * 86_400
ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a hub listens, not we


class BadArgument(ValueError):
    pass


def whole(name: str, given: object, *, low: int, high: int, default: int) -> int:
    if given is None:
        return default
    text = str(given)
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise BadArgument(f"{name} must be a whole number from {low:,} to {high:,}, not {given!r}")
    return int(text)


def duration_s(given: object) -> float | None:
    if given is None:
        return None
    try:
        seconds = float(str(given))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_DURATION_S:
        raise BadArgument(f"--duration must be a number of seconds above 0, not {given!r}")
    return seconds


def regions(given: str | Sequence[str] | None) -> Sequence[Place]:
    """Words apart by spaces or commas; raises UnknownRegion too."""
    if given is None:
        return places(())
    words = [word for each in ([given] if isinstance(given, str) else given) for word in each.replace(",", " ").split()]
    if not words:
        raise BadArgument("--regions names no region")
    return places(words)


def base_url(given: str | None, *, host: str, port: int) -> str:
    """Without a slash at its end; left out, of the hub that listens at host and port."""
    if given is None:
        if port == 0:
            raise BadArgument("POOLHUB_PORT is 0, any free port: say with --base where the hub listens")
        host = ANYWHERE.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        parts = urlsplit(given)
        sane = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        sane = sane and (parts.port is None or parts.port > 0)  # raises where it is no port
    except ValueError:
        sane = False
    if not sane:
        raise BadArgument(f"--base must be like http://127.0.0.1:8203, not {given!r}")
    return given.rstrip("/")
