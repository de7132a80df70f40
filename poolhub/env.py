"""The one reader of the environment.

A setting that is missing or absurd stops the start: one line on stderr that names it, exit code 2, no traceback.
The environment wins over the file ``.env``.
"""

import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from environs import Env, EnvError, ValidationError
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from poolhub.common.network import Network

T = TypeVar("T")

WEIGHTS = ("cap", "price", "latency", "trust", "load")

_RATE = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,4})?[smhd]")
_SECRET = re.compile(r"[!-+\--~]+")  # printable ASCII, no space, no comma


class Reader:
    def __init__(self, file: Path | None) -> None:
        self.names: set[str] = set()
        self._env = Env()
        if file is not None and file.is_file():
            self._env.read_env(str(file), recurse=False, override=False)

    def text(self, name: str, default: str = "") -> str:
        return self._parse(name, default, str)

    def flag(self, name: str, *, default: bool) -> bool:
        return self._guard(name, lambda: self._env.bool(name, default))

    def number(self, name: str, default: float, *, low: float, high: float, unit: str = "") -> float:
        return self._parse(name, str(default), lambda text: _number(text, low, high, unit))

    def whole(self, name: str, default: int, *, low: int, high: int, unit: str = "") -> int:
        def parse(text: str) -> int:
            if not re.fullmatch(r"[+-]?[0-9]{1,15}", text):
                raise ValidationError(f"it must be a whole number, not {text!r}")
            return int(_number(text, low, high, unit))

        return self._parse(name, str(default), parse)

    def choice(self, name: str, default: str, options: Sequence[str]) -> str:
        def parse(text: str) -> str:
            if text not in options:
                raise ValidationError(f"it must be one of {', '.join(options)}, not {text!r}")
            return text

        return self._parse(name, default, parse)

    def words(self, name: str, default: str = "") -> list[str]:
        return self._parse(name, default, _words)

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
                    raise ValidationError(f"a value is shorter than {min_length} characters")
                if not _SECRET.fullmatch(value):
                    raise ValidationError("a value has a character that is not printable ASCII, or a space")
            return tuple(_words(text))

        return self._parse(name, "", parse)

    def rate(self, name: str, default: str) -> str:
        def parse(text: str) -> str:
            if text and not _RATE.fullmatch(text):
                raise ValidationError(f"it must be like 50/s or 100/5m (s, m, h, d), or empty, not {text!r}")
            return text

        return self._parse(name, default, parse)

    def networks(self, name: str) -> tuple[Network, ...]:
        def parse(text: str) -> tuple[Network, ...]:
            try:
                return tuple(ip_network(word) for word in _words(text))
            except ValueError as exc:
                raise ValidationError(f"it must be addresses or CIDR networks, separated by commas: {exc}") from None

        return self._parse(name, "", parse)

    def weights(self, name: str, default: str) -> dict[str, float]:
        return self._parse(name, default, _weights)

    def database(self, name: str, default: str, *, base: Path) -> dict[str, Any]:
        return self._parse(name, default, lambda text: _database(text, base))

    def redis(self, name: str) -> str:
        def parse(text: str) -> str:
            if text and (urlsplit(text).scheme not in ("redis", "rediss", "unix") or "//" not in text):
                raise ValidationError("it must be like redis://host:6379/0, or empty")
            return text

        return self._parse(name, "", parse)

    def stop(self, name: str, why: str) -> NoReturn:
        sys.stderr.write(f"pool-hub does not start: {name}: {' '.join(why.split())}\n")
        raise SystemExit(2)

    def _parse(self, name: str, default: str, parse: Callable[[str], T]) -> T:
        return self._guard(name, lambda: parse(self._env.str(name, default).strip()))

    def _guard(self, name: str, read: Callable[[], T]) -> T:
        self.names.add(name)
        try:
            return read()
        except ValidationError as exc:
            self.stop(name, str(exc.args[0]))
        except EnvError as exc:
            self.stop(name, str(exc))


def env_file(base: Path) -> Path | None:
    """``POOLHUB_ENV_FILE`` names another file than ``.env``; empty names none."""
    named = os.environ.get("POOLHUB_ENV_FILE")
    if named is None:
        return base / ".env"
    return Path(named) if named else None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(text: str, low: float, high: float, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValidationError(f"it must be a number, not {text!r}") from None
    if not math.isfinite(value) or not low <= value <= high:
        raise ValidationError(f"it must be from {low:g} to {high:g}{f' {unit}' if unit else ''}, not {text}")
    return value


def _weights(text: str) -> dict[str, float]:
    weights = dict.fromkeys(WEIGHTS, 0.0)
    for pair in _words(text):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if key not in weights or not equals:
            raise ValidationError(f"it must be like cap=0.4,price=0.2 with {', '.join(WEIGHTS)}, not {pair!r}")
        weights[key] = _number(value, 0, 10**12, "")
    if not any(weights.values()):
        raise ValidationError("not all weights may be 0")
    return weights


def _database(dsn: str, base: Path) -> dict[str, Any]:
    """Django's ``NAME``, ``HOST`` … of ``sqlite:///path`` (relative to the root; four slashes: absolute) or ``postgresql://…``."""
    scheme, _, rest = dsn.partition("://")
    if scheme == "sqlite":
        if not rest.startswith("/") or len(rest) < 2:
            raise ValidationError("it must be like sqlite:///poolhub.sqlite3")
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": base / rest[1:]}
    if scheme in ("postgresql", "postgres"):
        try:
            parts = conninfo_to_dict(dsn)
        except ProgrammingError as exc:
            raise ValidationError(f"it is no PostgreSQL address: {exc}") from None
        if not parts.get("dbname"):
            raise ValidationError("it names no database: postgresql://user:password@host:5432/name")
        named = {key.upper(): parts.pop(key, "") for key in ("user", "password", "host", "port")}
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.pop("dbname"),
            **named,
            "OPTIONS": parts,
        }
    raise ValidationError("it must begin with sqlite:/// or postgresql://")
