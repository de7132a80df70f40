"""The hub's log: one line a record, whatever strangers send; no secrets; no floods; the same from every process."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from poolhub import logs, parts
from tests.hub import ROOT, hub_environment

pytestmark = pytest.mark.pure

EVIL = "a\nb\r2026-01-01T00:00:00.000Z ERROR root: forged\x00\x1b[31m\x7f\x85\u2028\u2029\u202e\ud800\u00ad"
FORGED = "2026-01-01T00:00:00.000Z ERROR root: forged"
SECRETS = ("a-secret-of-the-settings", "a-secret-of-the-settings-too", 'with"quote\\and-backslash')

Line = Callable[..., str]


def record(
    text: str, *args: object, raised: Exception | None = None, level: int = logging.WARNING
) -> logging.LogRecord:
    exc_info = None if raised is None else (type(raised), raised, raised.__traceback__)
    return logging.LogRecord("hub.test", level, "file.py", 1, text, args, exc_info)


def thrown(text: str) -> Exception:
    def fail() -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match=r".") as caught:
        fail()
    return caught.value


def line(*args: Any, as_json: bool, **options: Any) -> str:
    return logs.formatter(as_json=as_json, secrets=SECRETS).format(record(*args, **options))


def test_json_has_the_facts_and_what_is_bound() -> None:
    with bound_contextvars(request_id="r1", miner_id="m1", job_id="j1"):
        told = json.loads(line("%s of %d", "one", 2, as_json=True))
    assert told.pop("time").endswith("Z")
    assert told.pop("pid") > 0
    assert told == {
        "level": "WARNING", "logger": "hub.test", "message": "one of 2", "thread": threading.current_thread().name,
        "request_id": "r1", "miner_id": "m1", "job_id": "j1",
    }  # fmt: skip


def test_text_has_what_is_bound_before_the_message_so_that_no_message_can_say_it() -> None:
    with bound_contextvars(request_id="r1", job_id='a "job" request_id=r2]'):
        told = line("miner m1 [request_id=r3]", as_json=False)
    assert told.partition(" ")[2] == (
        'WARNING hub.test [job_id="a \\"job\\" request_id=r2]" request_id=r1]: miner m1 [request_id=r3]'
    )


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("where", ["message", "argument", "bound"])
def test_what_strangers_send_is_one_line_of_what_can_be_seen(as_json, where) -> None:
    with bound_contextvars(job_id=EVIL if where == "bound" else "j1"):
        told = line(
            EVIL if where == "message" else "from a stranger: %s",
            *([EVIL] if where == "argument" else []),
            as_json=as_json,
        )
    assert "forged" in told
    assert told.isprintable()
    if as_json:
        assert EVIL in json.loads(told).values() or EVIL in json.loads(told)["message"]


def test_a_traceback_begins_no_line_of_the_log() -> None:
    told = line("it failed", raised=thrown(EVIL), as_json=False)
    first, *rest = told.split("\n")
    assert first.endswith("hub.test: it failed")
    assert len(rest) > 2
    assert all(each.startswith("  | ") and each.isprintable() for each in rest)
    assert any(FORGED in each for each in rest)


def test_a_traceback_is_one_field_of_json_without_local_variables() -> None:
    hidden = "value-of-a-local"

    def fail() -> None:
        raise ValueError(len(hidden))

    with pytest.raises(ValueError, match="16") as caught:
        fail()
    told = line("it failed", raised=caught.value, as_json=True)
    assert "\n" not in told
    assert "ValueError: 16" in json.loads(told)["exception"]
    assert hidden not in told


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_of_the_settings_is_hidden_wherever_it_stands(as_json, secret) -> None:
    with bound_contextvars(job_id=f"job {secret}"):
        told = line("%r and %s", {"key": secret}, secret, raised=thrown(f"refused: {secret}"), as_json=as_json)
    assert "secret-of-the-settings" not in told
    assert "backslash" not in told
    assert told.count("[secret]") >= 3


@pytest.mark.parametrize(
    "text",
    [
        "GET /v1/miners/heartbeat?session_token=hide-me&x=1", "Authorization: Bearer hide-me", "bearer hide-me,",
        "{'api_key': 'hide-me'}", '{"session_token": "hide-me"}', "X-Admin-Secret: hide-me", "apikey=hide-me",
        "(b'authorization', b'Bearer hide-me')", "postgresql://h/x?password=hide-me", "Authorization: hide-me",
        "a token m-1/1764064800000000:" + "hide-me" * 6 + "x",
    ],
)  # fmt: skip
def test_what_looks_like_a_credential_is_hidden(text) -> None:
    for as_json in (False, True):
        told = line("%s", text, as_json=as_json)
        assert "hide-me" not in told
        assert "[secret]" in told


def test_what_looks_like_none_is_told() -> None:
    text = "password authentication failed for user postgres; the session_token is missing, wrong or has ended"
    assert line(text, as_json=False).endswith(text)


def test_a_long_text_is_cut() -> None:
    assert len(line("x" * 100_000, as_json=True)) < logs.MAX_TEXT + 500


def test_a_secret_at_the_end_of_what_is_kept_is_hidden_before_the_rest_is_cut_off() -> None:
    text = "x" * (logs.MAX_TEXT - 8) + " " + SECRETS[0]
    assert SECRETS[0][:6] not in line("%s", text, as_json=True)


def test_a_short_password_is_no_secret_since_it_would_be_in_many_a_word() -> None:
    told = logs.formatter(as_json=False, secrets={"pass"}).format(record("it passes over"))
    assert told.endswith("it passes over")


# ---- floods


def test_a_kind_is_told_ten_times_and_then_counted(monkeypatch) -> None:
    now = 1000.0
    monkeypatch.setattr(logs, "monotonic", lambda: now)
    flood, form = logs.Flood(), logs.formatter(as_json=True)
    told = [each for each in (record("heartbeat of %s", number) for number in range(100)) if flood.filter(each)]
    assert [json.loads(form.format(each))["message"] for each in told] == [f"heartbeat of {n}" for n in range(10)]
    assert flood.filter(record("another kind"))
    assert flood.filter(record("heartbeat of %s", 1, level=logging.ERROR))
    now += logs.PERIOD_S
    last = record("heartbeat of %s", 100)
    assert flood.filter(last)
    assert json.loads(form.format(last))["left_out"] == 90


def test_errors_of_two_types_are_two_kinds() -> None:
    flood = logs.Flood()
    for _ in range(logs.BURST + 1):
        flood.filter(record("Internal Server Error: %s", "/", raised=ValueError()))
    assert not flood.filter(record("Internal Server Error: %s", "/", raised=ValueError()))
    assert flood.filter(record("Internal Server Error: %s", "/", raised=KeyError()))


def test_however_many_kinds_come_few_are_kept() -> None:
    flood = logs.Flood()
    for number in range(3 * logs.MAX_KINDS):
        flood.filter(record(f"kind {number}"))
    assert len(flood._kinds) <= logs.MAX_KINDS


# ---- around the hub


def test_after_a_request_nothing_of_it_is_bound(registry, client) -> None:
    client.post("/v1/match", {"job_id": "j1"}, content_type="application/json")
    assert {key: value for key, value in get_contextvars().items() if value is not Ellipsis} == {}


def test_a_background_job_s_lines_name_it(caplog) -> None:
    from miners.registry.runtime import Background

    seen: dict[str, object] = {}
    background = Background()
    background.every(1, lambda: seen.update(get_contextvars()), "write")
    background.run_all()
    assert seen == {"task": "write"}
    assert get_contextvars() == {}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_servers_around_the_hub_write_to_the_same_log(log_format, tmp_path) -> None:
    """As granian and uvicorn read their configuration, before the hub is there."""
    code = (
        "import json, logging, logging.config, pathlib, sys\n"
        "logging.config.dictConfig(json.loads(pathlib.Path(sys.argv[1]).read_text()))\n"
        "for name in ('_granian', 'uvicorn.error'):\n"
        "    logging.getLogger(name).warning('a\\nb')\n"
    )
    env = hub_environment("sqlite:///x.sqlite3", 0, LOG_FORMAT=log_format, PYTHONWARNINGS="error")
    done = subprocess.run(
        [sys.executable, "-c", code, parts.LOG_CONFIG], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    if log_format == "json":
        assert [json.loads(each)["logger"] for each in lines] == ["_granian", "uvicorn.error"]
    else:
        assert lines[0].endswith(" WARNING _granian: a\\u000ab")


def test_a_thread_that_dies_is_told(caplog, monkeypatch) -> None:
    monkeypatch.setattr(threading, "excepthook", logs._thread_died)
    thread = threading.Thread(target=lambda: 1 / 0, name="doomed")
    thread.start()
    thread.join()
    assert caplog.messages == ["thread doomed died"]
