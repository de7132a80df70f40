"""The one reader of the environment.

A setting that is missing or absurd stops the start: one line on stderr that names it, exit code 2, no traceback.
The environment wins over the file ``.env``.
"""

import base64
import binascii
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from environs import Env
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from redis import Redis

from poolhub.common.network import Network

T = TypeVar("T")

WEIGHTS = ("cap", "price", "latency", "trust", "load")

FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

_NAME = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*"  # of a host, by DNS
_HOST_NAME = re.compile(_NAME)
_ORIGIN = re.compile(rf"https?://(\*\.)?({_NAME}|\[[0-9A-Fa-f:.]+\])(:[0-9]{{1,5}})?")
_HUB = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_BASE = re.compile(rf"https?://({_NAME}|\[[0-9A-Fa-f:.]+\])(:[0-9]{{1,5}})?(/[!-~]*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_RATE = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,4})?[smhd]")
_SECRET = re.compile(r"[!-+\--~]+")  # printable ASCII, no space, no comma


class Absurd(ValueError):
    """What is wrong with a value, without the value where it may hold a secret."""


class Reader:
    def __init__(self, file: Path | None) -> None:
        self.names: set[str] = set()
        self.confidential: set[str] = set()  # values that no log may show
        self._env = Env()
        if file is None:
            return
        try:
            self._env.read_env(file, recurse=False, override=False)
        except (OSError, ValueError) as exc:
            self.stop(str(file), f"it cannot be read: {exc}")

    def flag(self, name: str, *, default: bool) -> bool:
        def parse(text: str) -> bool:
            if text.lower() not in FLAGS:
                raise Absurd(f"it must be true or false, not {text!r}")
            return FLAGS[text.lower()]

        return self._parse(name, str(default), parse)

    def number(self, name: str, default: float, *, low: float, high: float, unit: str = "") -> float:
        return self._parse(name, str(default), lambda text: _number(text, low, high, unit))

    def whole(self, name: str, default: int, *, low: int, high: int, unit: str = "") -> int:
        def parse(text: str) -> int:
            if not re.fullmatch(r"[+-]?[0-9]{1,15}", text):
                raise Absurd(f"it must be a whole number, not {text!r}")
            return int(_number(text, low, high, unit))

        return self._parse(name, str(default), parse)

    def choice(self, name: str, default: str, options: Sequence[str]) -> str:
        def parse(text: str) -> str:
            if text not in options:
                raise Absurd(f"it must be one of {', '.join(options)}, not {text!r}")
            return text

        return self._parse(name, default, parse)

    def host(self, name: str, default: str) -> str:
        """An address or name to listen on; an empty one would be every address of the machine."""

        def parse(text: str) -> str:
            bare = text.removeprefix("[").removesuffix("]")
            if not _is_host(bare):
                raise Absurd(f"it must be an address or a host name, not {text!r}")
            return bare

        return self._parse(name, default, parse)

    def hosts(self, name: str, default: str) -> list[str]:
        """Names as requests may have them in their Host header; at least one."""

        def parse(text: str) -> list[str]:
            for word in _words(text):
                address = word[1:-1] if word.startswith("[") else word.removeprefix(".")
                if word != "*" and (not _is_host(address) or (":" in word) != word.startswith("[")):
                    raise Absurd(f"it must be host names without scheme and port, separated by commas, not {word!r}")
            if not _words(text):
                raise Absurd("it must have at least one host name")
            return _words(text)

        return self._parse(name, default, parse)

    def origins(self, name: str) -> list[str]:
        def parse(text: str) -> list[str]:
            for word in _words(text):
                if not _ORIGIN.fullmatch(word):
                    raise Absurd(f"it must be origins like https://hub.example.com, separated by commas, not {word!r}")
            return _words(text)

        return self._parse(name, "", parse)

    def secret(self, name: str, *, min_length: int) -> str:
        """One value that must be there."""
        found = self.secrets(name, min_length=min_length)
        if len(found) != 1:
            self.stop(name, "it must be set to one secret" if not found else "it takes one value, without commas")
        return found[0]

    def secrets(self, name: str, *, min_length: int) -> tuple[str, ...]:
        """Values separated by commas, all of them valid; none at all is allowed."""

        def parse(text: str) -> tuple[str, ...]:
            for value in _words(text):
                if len(value) < min_length:
                    raise Absurd(f"a value is shorter than {min_length} characters")
                if not _SECRET.fullmatch(value):
                    raise Absurd("a value has a character that is not printable ASCII, or a space")
            return tuple(_words(text))

        found = self._parse(name, "", parse)
        self.confidential.update(found)
        return found

    def webhook_secrets(self, name: str) -> tuple[str, ...]:
        """As Standard Webhooks has them, the one to move to first; none at all is allowed."""

        def parse(text: str) -> tuple[str, ...]:
            if not all(_is_webhook_secret(word) for word in _words(text)):
                raise Absurd("a value is not whsec_ with 24 to 64 bytes in base64")
            return tuple(_words(text))

        return self._parse(name, "", parse)

    def folder(self, name: str, *, base: Path) -> str:
        """Relative to the root; empty is none."""

        def parse(text: str) -> str:
            if text and not (base / text).is_dir():
                raise Absurd(f"there is no folder {text}")
            return str(base / text) if text else ""

        return self._parse(name, "", parse)

    def url(self, name: str, default: str = "") -> str:
        """Of a server that the hub calls; empty is none."""

        def parse(text: str) -> str:
            if text and not _is_url(text):
                raise Absurd("it must be like https://host/path, without user, password and #, or empty")
            return text

        return self._parse(name, default, parse)

    def hex_bytes(self, name: str, *, size: int) -> str:
        """0x and so many bytes, or empty. The refusal does not repeat the value: it may be a key."""

        def parse(text: str) -> str:
            if text and not re.fullmatch(rf"0x[0-9A-Fa-f]{{{2 * size}}}", text):
                raise Absurd(f"it must be 0x and {2 * size} hex digits, or empty")
            if text and not int(text, 16):
                raise Absurd("it must not be 0")
            return text

        return self._parse(name, "", parse)

    def rate(self, name: str, default: str) -> str:
        def parse(text: str) -> str:
            if text and not _RATE.fullmatch(text):
                raise Absurd(f"it must be like 50/s or 100/5m (s, m, h, d), or empty, not {text!r}")
            return text

        return self._parse(name, default, parse)

    def networks(self, name: str) -> tuple[Network, ...]:
        def parse(text: str) -> tuple[Network, ...]:
            try:
                return tuple(ip_network(word) for word in _words(text))
            except ValueError as exc:
                raise Absurd(f"it must be addresses or CIDR networks, separated by commas: {exc}") from None

        return self._parse(name, "", parse)

    def weights(self, name: str, default: str) -> dict[str, float]:
        return self._parse(name, default, _weights)

    def database(self, name: str, default: str, *, base: Path) -> dict[str, Any]:
        found = self._parse(name, default, lambda text: _database(text, base))
        self.confidential.update(map(str, filter(None, [found.get("PASSWORD")])))
        return found

    def hub(self, name: str, default: str) -> str:
        def parse(text: str) -> str:
            if not _HUB.fullmatch(text):
                raise Absurd(f"it must be 1 to 32 of a-z, 0-9 and -, not {text!r}")
            return text

        return self._parse(name, default, parse)

    def hubs(self, name: str) -> dict[str, str]:
        """Addresses of other hubs by their names, like us=https://us.example.com."""
        return self._parse(name, "", _hubs)

    def redis(self, name: str) -> str:
        found = self._parse(name, "", lambda text: _redis(text) if text else "")
        password = urlsplit(found).password or ""
        self.confidential.update({password, unquote(password)} - {""})
        return found

    def stop(self, name: str, why: str) -> NoReturn:
        stop(name, why)

    def _parse(self, name: str, default: str, parse: Callable[[str], T]) -> T:
        self.names.add(name)
        try:
            return parse(self._env.str(name, default).strip())
        except Absurd as exc:
            stop(name, str(exc))


def stop(name: str, why: str) -> NoReturn:
    sys.stderr.write(f"pool-hub does not start: {name}: {' '.join(why.split())}\n")
    raise SystemExit(2)


def env_file(base: Path) -> Path | None:
    """``POOLHUB_ENV_FILE`` names another file than ``.env``, which must be there; empty names none."""
    named = os.environ.get("POOLHUB_ENV_FILE")
    if named is None:
        usual = base / ".env"
        return usual if usual.is_file() else None
    if named and not Path(named).is_file():
        stop("POOLHUB_ENV_FILE", f"there is no file {named}")
    return Path(named) if named else None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _is_host(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:  # a name, whose last part is no number: 10.0.0.256 is a mistyped address
        return len(text) <= 253 and bool(_HOST_NAME.fullmatch(text)) and not text.rpartition(".")[2].isdecimal()
    return True


def _is_webhook_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return False
    return text.startswith("whsec_") and 24 <= len(key) <= 64


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    named = parts.scheme in ("http", "https") and parts.hostname and _is_host(parts.hostname) and port != 0
    plain = len(text) <= 500 and text.isascii() and text.isprintable() and " " not in text
    bare = not parts.fragment and parts.username is None and parts.password is None
    return bool(named and plain and bare)


def _number(text: str, low: float, high: float, unit: str) -> float:
    if not _NUMBER.fullmatch(text):  # float() would take 1_0, Arabic digits and nan as well
        raise Absurd(f"it must be a number, not {text!r}")
    value = float(text)
    if not math.isfinite(value) or not low <= value <= high:
        raise Absurd(f"it must be from {low:.15g} to {high:.15g}{f' {unit}' if unit else ''}, not {text}")
    return value


def _weights(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for pair in _words(text):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if key not in WEIGHTS or not equals:
            raise Absurd(f"it must be like cap=0.4,price=0.2 with {', '.join(WEIGHTS)}, not {pair!r}")
        if key in weights:
            raise Absurd(f"it names {key} twice")
        weights[key] = _number(value, 0, 10**12, "")
    if not any(weights.values()):
        raise Absurd("not all weights may be 0")
    return {name: weights.get(name, 0.0) for name in WEIGHTS}


def _hubs(text: str) -> dict[str, str]:
    hubs: dict[str, str] = {}
    for pair in _words(text):
        hub, equals, url = (part.strip() for part in pair.partition("="))
        if not equals or not _HUB.fullmatch(hub):
            raise Absurd(f"it must be like us=https://us.example.com, with names of a-z, 0-9 and -, not {pair!r}")
        if hub in hubs:
            raise Absurd(f"it names {hub} twice")
        if not _BASE.fullmatch(url):
            raise Absurd(f"the address of {hub} must be like https://us.example.com, without a password")
        hubs[hub] = url.rstrip("/")
    return hubs


def _database(dsn: str, base: Path) -> dict[str, Any]:
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
    return {"ENGINE": "django.db.backends.postgresql", "NAME": parts.pop("dbname"), **named, "OPTIONS": parts}


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_535)


def _redis(url: str) -> str:
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
