"""The hub's log: a line a record on stderr, as text or as JSON, the same from every process of a hub.

Promises. What strangers send never begins a line, and never turns or hides what stands beside it: it is escaped, and
the lines of a traceback are set off. No secret of the settings is written, nor what looks like a session token or like
a credential of a request. What repeats itself is told BURST times in PERIOD_S seconds; what is left out is counted.

Code logs with the standard library; structlog puts the line together. Who the line is about (request_id, miner_id,
job_id, chore, task) is bound with structlog.contextvars where it becomes known, and unbound where a request ends.
"""

import json
import logging
import logging.config
import os
import re
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from structlog.contextvars import merge_contextvars
from structlog.processors import format_exc_info
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict

from poolhub.common.text import visible

BURST, PERIOD_S = 10, 10.0
MAX_KINDS = 1000  # of records that are counted at once
MIN_SECRET = 8  # characters: a shorter password would be a word of many a line
HIDDEN = "[secret]"
MAX_TEXT = 20_000  # characters of a message, a value or a traceback
EXTRAS = ("status_code",)
TRACEBACK = "  | "

_TOKEN = r"[A-Za-z0-9._:-]{1,64}/[0-9]{6,20}:[A-Za-z0-9_-]{43}"  # noqa: S105 - as miners.sessions makes them
_CREDENTIAL = re.compile(
    rf"""
    (?P<name> (?:session_token|api_?key|passw(?:or)?d|secret|authorization) ["']? \s*[=:,]\s* (?:b?["'])? (?:bearer\s+)?
            | bearer\s+ )
    [^\s"'&,;]+
    | {_TOKEN}""",
    re.IGNORECASE | re.VERBOSE,
)
_PLAIN = re.compile(r"[^\s=\"\[\]]+")


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG: besides, warnings and threads that die are records of the log."""
    logging.config.dictConfig(config)
    logging.captureWarnings(capture=True)
    if threading.excepthook is threading.__excepthook__:  # nobody else minds them
        threading.excepthook = _thread_died


def handler() -> logging.Handler:
    """Where every process's records go, Django's own and those of the servers around it."""
    from poolhub import settings  # noqa: PLC0415 - a server's own process has no other door to them

    made = logging.StreamHandler()
    made.setFormatter(formatter(as_json=settings.LOG_JSON, secrets=settings.read.confidential))
    made.addFilter(Flood())
    return made


def formatter(*, as_json: bool, secrets: Iterable[str] = ()) -> logging.Formatter:
    return ProcessorFormatter(
        foreign_pre_chain=[merge_contextvars, ExtraAdder(EXTRAS)],
        processors=[_facts, format_exc_info, _Hide(secrets), _as_json if as_json else _as_text],
    )


class Flood(logging.Filter):
    """Lets so many records of a kind through. The first one of the next period says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._kinds: dict[tuple[object, ...], tuple[float, int]] = {}  # since when, how many

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, record.levelno, str(record.msg), record.exc_info and record.exc_info[0])
        now = monotonic()
        with self._lock:
            since, told = self._kinds.get(kind, (-PERIOD_S, 0))
            if now - since < PERIOD_S:
                self._kinds[kind] = since, told + 1
                return told < BURST
            if len(self._kinds) >= MAX_KINDS:
                self._kinds.clear()
            self._kinds[kind] = now, 1
        if told > BURST:
            record.left_out = told - BURST
        return True


class _Hide:
    def __init__(self, secrets: Iterable[str]) -> None:
        hidden = [each for each in secrets if len(each) >= MIN_SECRET]
        forms = {form for each in hidden for form in (each, repr(each)[1:-1], json.dumps(each)[1:-1])}
        ordered = sorted(forms, key=len, reverse=True)  # one may be a part of another
        self._known = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")

    def __call__(self, logger: object, name: str, event: EventDict) -> EventDict:
        return {key: self._hidden(value) if isinstance(value, str) else value for key, value in event.items()}

    def _hidden(self, text: str) -> str:
        looked_at = self._known.sub(HIDDEN, text[: 2 * MAX_TEXT])  # past the cut: half of a secret is not known as one
        hidden = _CREDENTIAL.sub(lambda found: f"{found['name'] or ''}{HIDDEN}", looked_at)
        if len(text) <= MAX_TEXT:
            return hidden
        return f"{hidden[:MAX_TEXT]} … and {len(text) - MAX_TEXT} characters more"


def _facts(logger: object, name: str, event: EventDict) -> EventDict:
    """What the record itself knows, in the order in which it is shown."""
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog")
    message, raised = event.pop("event"), event.pop("exc_info", None)
    facts = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "message": str(message).rstrip(),
        "pid": os.getpid(),
        "thread": record.threadName,
        **{key: value if isinstance(value, int | float) else str(value) for key, value in sorted(event.items())},
    }
    if hasattr(record, "left_out"):
        facts["left_out"] = record.left_out
    return facts if raised is None else {**facts, "exc_info": raised}


def _as_json(logger: object, name: str, event: EventDict) -> str:
    return json.dumps(event).replace("\x7f", "\\u007f")  # of what is no letter, json leaves only this one as it is


def _as_text(logger: object, name: str, event: EventDict) -> str:
    for unsaid in ("pid", "thread"):
        del event[unsaid]
    time, level, source, message = (event.pop(key) for key in ("time", "level", "logger", "message"))
    raised = event.pop("exception", None)
    about = " ".join(f"{key}={_quoted(str(value))}" for key, value in event.items())
    line = f"{time} {level} {source}{f' [{about}]' if about else ''}: {visible(message)}"
    lines = [] if raised is None else [TRACEBACK + visible(each) for each in raised.split("\n")]
    return "\n".join([line, *lines])


def _quoted(value: str) -> str:
    shown = visible(value)
    return shown if _PLAIN.fullmatch(shown) else '"' + shown.replace('"', '\\"') + '"'


def _thread_died(died: threading.ExceptHookArgs) -> None:
    if died.exc_type is not SystemExit and died.exc_value is not None:
        named = died.thread.name if died.thread else "?"
        raised = (died.exc_type, died.exc_value, died.exc_traceback)
        logging.getLogger(__name__).critical("thread %s died", named, exc_info=raised)
