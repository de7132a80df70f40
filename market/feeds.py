"""A feed's content: from an HTTP server, or from a file below MARKET_FEED_DIR.

Promises: at most MAX_BYTES are read, within LIMIT_S; redirects are not followed and private addresses not called
(poolhub/common/outbound.py). No error names a header's value or the query of the URL, where keys may be.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from market.mapping import BadFeed
from poolhub.common import outbound

LIMIT_S = 20.0
MAX_BYTES = 8 * 1024 * 1024
MAX_TAG = 300


@dataclass(frozen=True, slots=True)
class Content:
    data: bytes
    digest: str
    etag: str = ""
    last_modified: str = ""


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def shown(source: str) -> str:
    """Without what may be a key."""
    if not is_url(source):
        return source
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.hostname}{parts.path}{'?…' if parts.query else ''}"


def fetch(
    client: outbound.Client, source: str, *, headers: Mapping[str, str], etag: str, last_modified: str
) -> Content | None:
    """None where it is unchanged. Raises BadFeed."""
    return _called(client, source, headers, etag, last_modified) if is_url(source) else _read(source)


def parsed(data: bytes) -> Any:
    """Numbers with a point as Decimal, exactly as they are written. Raises BadFeed."""
    try:
        return json.loads(data, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise BadFeed(f"it is no JSON: {type(error).__name__}") from None


def _called(
    client: outbound.Client, url: str, headers: Mapping[str, str], etag: str, last_modified: str
) -> Content | None:
    asked = {"Accept": "application/json", **headers}
    if etag:
        asked["If-None-Match"] = etag
    if last_modified:
        asked["If-Modified-Since"] = last_modified
    try:
        answer = client.request("GET", url, limit_s=LIMIT_S, max_bytes=MAX_BYTES, headers=asked)
    except outbound.OutboundError as error:
        raise BadFeed(str(error).replace(url, shown(url))) from None
    if answer.status == HTTPStatus.NOT_MODIFIED and (etag or last_modified):
        return None
    if answer.status != HTTPStatus.OK:
        moved = ": redirects are not followed" if 300 <= answer.status < 400 else ""
        raise BadFeed(f"the server answered {answer.status}{moved}")
    if not answer.complete:
        raise BadFeed(f"it is longer than {MAX_BYTES} bytes")
    return _content(answer.content, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))


def _read(name: str) -> Content:
    if not settings.MARKET_FEED_DIR:
        raise BadFeed("files are not read: MARKET_FEED_DIR is empty")
    folder = Path(settings.MARKET_FEED_DIR).resolve()
    try:
        path = (folder / name).resolve(strict=True)
        if not path.is_relative_to(folder) or not path.is_file():
            raise BadFeed("there is no such file below MARKET_FEED_DIR")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, BadFeed):
            raise
        raise BadFeed("there is no such file below MARKET_FEED_DIR") from None
    if len(data) > MAX_BYTES:
        raise BadFeed(f"it is longer than {MAX_BYTES} bytes")
    return _content(data)


def _content(data: bytes, etag: str = "", last_modified: str = "") -> Content:
    tags = [each if len(each) <= MAX_TAG and each.isprintable() else "" for each in (etag, last_modified)]
    return Content(data, hashlib.sha256(data).hexdigest(), tags[0], tags[1][:100])


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
