"""What the values of settings may be: each function takes a text, and gives what it says or raises Absurd."""

import base64
import binascii
import math
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from redis import Redis

WEIGHTS = ("cap", "price", "latency", "trust", "load")

FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

_NAME = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*"  # of a host, by DNS
_HOST_NAME = re.compile(_NAME)
ORIGIN = re.compile(rf"https?://(\*\.)?({_NAME}|\[[0-9A-Fa-f:.]+\])(:[0-9]{{1,5}})?")
HUB = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
BASE = re.compile(rf"https?://({_NAME}|\[[0-9A-Fa-f:.]+\])(:[0-9]{{1,5}})?(/[!-~]*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
RATE = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,4})?[smhd]")
SECRET = re.compile(r"[!-+\--~]+")  # printable ASCII, no space, no comma


class Absurd(ValueError):
    """What is wrong with a value, without the value where it may hold a secret."""


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def is_host(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:  # a name, whose last part is no number: 10.0.0.256 is a mistyped address
        return len(text) <= 253 and bool(_HOST_NAME.fullmatch(text)) and not text.rpartition(".")[2].isdecimal()
    return True


def is_webhook_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return False
    return text.startswith("whsec_") and 24 <= len(key) <= 64


def is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    named = parts.scheme in ("http", "https") and parts.hostname and is_host(parts.hostname) and port != 0
    plain = len(text) <= 500 and text.isascii() and text.isprintable() and " " not in text
    bare = not parts.fragment and parts.username is None and parts.password is None
    return bool(named and plain and bare)


def number(text: str, low: float, high: float, unit: str) -> float:
    if not _NUMBER.fullmatch(text):  # float() would take 1_0, Arabic digits and nan as well
        raise Absurd(f"it must be a number, not {text!r}")
    value = float(text)
    if not math.isfinite(value) or not low <= value <= high:
        raise Absurd(f"it must be from {low:.15g} to {high:.15g}{f' {unit}' if unit else ''}, not {text}")
    return value


def weights(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair in words(text):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if key not in WEIGHTS or not equals:
            raise Absurd(f"it must be like cap=0.4,price=0.2 with {', '.join(WEIGHTS)}, not {pair!r}")
        if key in found:
            raise Absurd(f"it names {key} twice")
        found[key] = number(value, 0, 10**12, "")
    if not any(found.values()):
        raise Absurd("not all weights may be 0")
    return {name: found.get(name, 0.0) for name in WEIGHTS}


def hubs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in words(text):
        hub, equals, url = (part.strip() for part in pair.partition("="))
        if not equals or not HUB.fullmatch(hub):
            raise Absurd(f"it must be like us=https://us.example.com, with names of a-z, 0-9 and -, not {pair!r}")
        if hub in found:
            raise Absurd(f"it names {hub} twice")
        if not BASE.fullmatch(url):
            raise Absurd(f"the address of {hub} must be like https://us.example.com, without a password")
        found[hub] = url.rstrip("/")
    return found


def database(dsn: str, base: Path) -> dict[str, Any]:
    """Django's ``NAME``, ``HOST`` … of ``sqlite:///path`` (relative to the root; four slashes: absolute) or ``postgresql://…``."""
    scheme, _, rest = dsn.partition("://")
    if scheme == "sqlite":
        return _sqlite(rest, base)
    if scheme in ("postgresql", "postgres"):
        return _postgresql(dsn)
    raise Absurd("it must begin with sqlite:/// or postgresql://")


def _sqlite(rest: str, base: Path) -> dict[str, Any]:
    if not rest.startswith("/") or len(rest) < 2 or rest[1:] == ":memory:":  # threads could not share one in memory
        raise Absurd("it must name a file, like sqlite:///poolhub.sqlite3")
    path = base / rest[1:]
    if path.is_dir() or not path.parent.is_dir():
        raise Absurd(f"{path} is a folder" if path.is_dir() else f"there is no folder {path.parent}")
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": path}


def _postgresql(dsn: str) -> dict[str, Any]:
    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:  # whose text may repeat the password
        raise Absurd("it must be like postgresql://user:password@host:5432/name, special characters as %xx") from None
    if not parts.get("dbname"):
        raise Absurd("it names no database: postgresql://user:password@host:5432/name")
    if not all(_is_port(port) for port in str(parts.get("port") or "").split(",")):
        raise Absurd("its port is no number from 1 to 65535")
    named = {key.upper(): parts.pop(key, "") for key in ("user", "password", "host", "port")}
    return {"ENGINE": "poolhub.common.postgres", "NAME": parts.pop("dbname"), **named, "OPTIONS": parts}


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_535)


def redis_url(url: str) -> str:
    """The address as it came, once the client takes it; nothing is connected."""
    try:
        parts = urlsplit(url)
        by_name = parts.scheme in ("redis", "rediss") and parts.hostname and re.fullmatch("/?[0-9]*", parts.path)
        by_path = parts.scheme == "unix" and parts.path
        if (by_name or by_path) and not parts.fragment:
            Redis.from_url(url).connection_pool.make_connection()
            return url
    except (ValueError, TypeError):  # whose text may repeat the password
        pass
    raise Absurd("it must be like redis://user:password@host:6379/0, special characters as %xx, or empty")
