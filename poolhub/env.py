"""The one reader of the environment.

A setting that is missing or absurd stops the start: one line on stderr that names it, exit code 2, no traceback.
The environment wins over the file ``.env``.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from environs import Env

from poolhub import values
from poolhub.common.network import Network
from poolhub.values import Absurd

T = TypeVar("T")


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
            if text.lower() not in values.FLAGS:
                raise Absurd(f"it must be true or false, not {text!r}")
            return values.FLAGS[text.lower()]

        return self._parse(name, str(default), parse)

    def number(self, name: str, default: float, *, low: float, high: float, unit: str = "") -> float:
        return self._parse(name, str(default), lambda text: values.number(text, low, high, unit))

    def whole(self, name: str, default: int, *, low: int, high: int, unit: str = "") -> int:
        def parse(text: str) -> int:
            if not re.fullmatch(r"[+-]?[0-9]{1,15}", text):
                raise Absurd(f"it must be a whole number, not {text!r}")
            return int(values.number(text, low, high, unit))

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
            if not values.is_host(bare):
                raise Absurd(f"it must be an address or a host name, not {text!r}")
            return bare

        return self._parse(name, default, parse)

    def hosts(self, name: str, default: str) -> list[str]:
        """Names as requests may have them in their Host header; at least one."""

        def parse(text: str) -> list[str]:
            for word in values.words(text):
                address = word[1:-1] if word.startswith("[") else word.removeprefix(".")
                if word != "*" and (not values.is_host(address) or (":" in word) != word.startswith("[")):
                    raise Absurd(f"it must be host names without scheme and port, separated by commas, not {word!r}")
            if not values.words(text):
                raise Absurd("it must have at least one host name")
            return values.words(text)

        return self._parse(name, default, parse)

    def origins(self, name: str) -> list[str]:
        def parse(text: str) -> list[str]:
            for word in values.words(text):
                if not values.ORIGIN.fullmatch(word):
                    raise Absurd(f"it must be origins like https://hub.example.com, separated by commas, not {word!r}")
            return values.words(text)

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
            for value in values.words(text):
                if len(value) < min_length:
                    raise Absurd(f"a value is shorter than {min_length} characters")
                if not values.SECRET.fullmatch(value):
                    raise Absurd("a value has a character that is not printable ASCII, or a space")
            return tuple(values.words(text))

        found = self._parse(name, "", parse)
        self.confidential.update(found)
        return found

    def webhook_secrets(self, name: str) -> tuple[str, ...]:
        """As Standard Webhooks has them, the one to move to first; none at all is allowed."""

        def parse(text: str) -> tuple[str, ...]:
            if not all(values.is_webhook_secret(word) for word in values.words(text)):
                raise Absurd("a value is not whsec_ with 24 to 64 bytes in base64")
            return tuple(values.words(text))

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
            if text and not values.is_url(text):
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
            if text and not values.RATE.fullmatch(text):
                raise Absurd(f"it must be like 50/s or 100/5m (s, m, h, d), or empty, not {text!r}")
            return text

        return self._parse(name, default, parse)

    def networks(self, name: str) -> tuple[Network, ...]:
        def parse(text: str) -> tuple[Network, ...]:
            try:
                return tuple(ip_network(word) for word in values.words(text))
            except ValueError as exc:
                raise Absurd(f"it must be addresses or CIDR networks, separated by commas: {exc}") from None

        return self._parse(name, "", parse)

    def weights(self, name: str, default: str) -> dict[str, float]:
        return self._parse(name, default, values.weights)

    def database(self, name: str, default: str, *, base: Path) -> dict[str, Any]:
        found = self._parse(name, default, lambda text: values.database(text, base))
        self.confidential.update(map(str, filter(None, [found.get("PASSWORD")])))
        return found

    def hub(self, name: str, default: str) -> str:
        def parse(text: str) -> str:
            if not values.HUB.fullmatch(text):
                raise Absurd(f"it must be 1 to 32 of a-z, 0-9 and -, not {text!r}")
            return text

        return self._parse(name, default, parse)

    def hubs(self, name: str) -> dict[str, str]:
        """Addresses of other hubs by their names, like us=https://us.example.com."""
        return self._parse(name, "", values.hubs)

    def collector(self, name: str, *, needs: str) -> str:
        """The base address of an HTTP service, or empty; set, it needs a module that is not always installed."""

        def parse(text: str) -> str:
            if text and not values.BASE.fullmatch(text):
                raise Absurd("it must be like http://127.0.0.1:4318, without a password, or empty")
            if text and not _is_installed(needs):
                raise Absurd("it needs the packages of requirements-otel.txt")
            return text.rstrip("/")

        return self._parse(name, "", parse)

    def redis(self, name: str) -> str:
        found = self._parse(name, "", lambda text: values.redis_url(text) if text else "")
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


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False
