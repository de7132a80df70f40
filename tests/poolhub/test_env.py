"""Settings from the environment: documented, defaulted as documented, and refused by name where they are absurd."""

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.hub import ROOT

pytestmark = pytest.mark.pure

EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
REQUIRED = {"SECRET_KEY": "k3" * 25, "API_KEY_PEPPER": "p7" * 16}
DIFFERS = {"ENROLLMENT"}  # the hub's own default is closed, and the example says so
PRODUCTION = {"POOLHUB_ENV": "production"}

Load = Callable[..., dict[str, Any]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Run the settings module in this environment alone; what it defines."""

    def run(**env: str) -> dict[str, Any]:
        for name in (*EXAMPLE, "POOLHUB_ENV_FILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"POOLHUB_ENV_FILE": "", **REQUIRED, **env}.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "poolhub" / "settings.py"))

    return run


@pytest.fixture
def refused(load: Load, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the start says as it is refused, which must be one line and exit code 2."""

    def run(**env: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            load(**env)
        assert stopped.value.code == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        assert told.err.endswith("\n")
        return told.err

    return run


def defined(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name.isupper()}


def test_every_setting_is_in_the_example_and_every_one_of_the_example_is_read(load) -> None:
    assert load()["read"].names == set(EXAMPLE)


def test_each_setting_of_the_example_is_explained_above_it() -> None:
    explained = False
    for line in (ROOT / ".env.example").read_text().splitlines():
        if line.startswith("# ---") or not line:
            explained = False
        elif line.startswith("#"):
            explained = True
        else:
            assert explained, line


def test_the_example_documents_the_defaults(load) -> None:
    by_default = defined(load())
    documented = defined(load(**{name: value for name, value in EXAMPLE.items() if name not in {*REQUIRED, *DIFFERS}}))
    assert documented == by_default


@pytest.mark.parametrize("name", sorted(DIFFERS))
def test_where_the_example_differs_from_the_default_it_says_so(load, name) -> None:
    assert load()[name] != EXAMPLE[name]
    assert "The hub's own default is closed" in (ROOT / ".env.example").read_text()


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_secret_stops_the_start(refused, name) -> None:
    assert refused(**{name: ""}) == f"pool-hub does not start: {name}: it must be set to one secret\n"
    assert refused(**{name: "  "}) == f"pool-hub does not start: {name}: it must be set to one secret\n"


NOT_NUMBERS = ("", "x", "nan", "inf", "-inf", "1_0", "٣", "0x10", "1e999", "1 2")
NOT_WHOLE = (*NOT_NUMBERS, "1.5", "1e3", "9" * 5000)
SECRETS = ("short", "good-long-enough-secret-of-more-than-fifty-characters,short", "a b" * 20, "é" * 60, "\x7f" * 60)
NETWORKS = ("x", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.256", "::1/129", "10.0.0.1;10.0.0.2", "localhost")
HOSTS = ("a b", "http://hub.example.com", "hub.example.com:8203", "10.0.0.256", "hub_.example.com/", "..", "-", "é.org")
RATES = ("50", "50/x", "0/s", "-1/s", "50/0s", "50 / s", "1.5/s", "50/s,60/s", "/s")

URLS = (
    "hook", "//h/x", "ftp://h/x", "http://", "https:///x", "https://user:hidden@h/x", "https://hidden@h/x", "https://h/x#y",
    "https://h:0/", "https://h:65536/", "https://h:x/", "https://a b/", "https://[::1/", "https://h/é", "https://h/" + "x" * 500,
)  # fmt: skip

ABSURD = {
    "POOLHUB_ENV": ("", "prod", "Embedded"),
    "POOLHUB_HOST": ("", *HOSTS, "127.0.0.1:80", "*", "x" * 300),
    "POOLHUB_PORT": (*NOT_WHOLE, "-1", "65536"),
    "ALLOWED_HOSTS": ("", ",", *HOSTS, "::1", "ok.example.com,bad host", "*.example.com"),
    "CSRF_TRUSTED_ORIGINS": ("hub.example.com", "ftp://hub.example.com", "https://", "https://x/path", "https://a b"),
    "LOG_LEVEL": ("", "info", "TRACE"),
    "LOG_FORMAT": ("", "JSON", "logfmt"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("collector:4318", "ftp://h", "http://", "http://u:hidden@h:4318", "http://h h"),
    "TRACE_SAMPLE": (*NOT_NUMBERS, "-0.1", "1.1"),
    "DEBUG": ("", "perhaps", "2"),
    "SECRET_KEY": (*SECRETS, "x" * 49, f"{'x' * 50},{'y' * 50}"),
    "API_KEY_PEPPER": (*SECRETS, "x" * 31, f"{'x' * 32},{'y' * 32}"),
    "COORDINATOR_SHARED_SECRET": (*SECRETS, "x" * 15),
    "ADMIN_SHARED_SECRET": (*SECRETS, "x" * 15),
    "COORDINATOR_ALLOWLIST": NETWORKS,
    "ADMIN_ALLOWLIST": NETWORKS,
    "TRUSTED_PROXIES": NETWORKS,
    "ENROLLMENT": ("", "Open", "yes"),
    "RATELIMIT_MATCH": RATES,
    "RATELIMIT_REGISTER": RATES,
    "RATELIMIT_WRONG_KEY": RATES,
    "MAX_BODY_BYTES": (*NOT_WHOLE, "1023", "16777217"),
    "SESSION_TTL_SEC": (*NOT_NUMBERS, "0", "-60", "86401"),
    "HEARTBEAT_GRACE_SEC": (*NOT_NUMBERS, "0", "59", "864001"),
    "MAX_HEARTBEATS_PER_SEC": (*NOT_NUMBERS, "-1", "10000001"),
    "DEFAULT_WEIGHTS": ("", "cap", "cap=", "cap=x", "cap=-1", "cap=nan", "cap=0,load=0", "size=1", "cap=1,cap=2", "cap=1;load=1"),
    "SOFT_HOLD_MS": (*NOT_WHOLE, "-1", "600001"),
    "JOB_TTL_SEC": (*NOT_NUMBERS, "0", "604801"),
    "COMMAND_TTL_SEC": (*NOT_NUMBERS, "0", "31536001"),
    "TRUST_HALF_LIFE_DAYS": (*NOT_NUMBERS, "0", "36501"),
    "MATCH_RECORD_SAMPLE": (*NOT_NUMBERS, "-0.1", "1.1"),
    "LOGIN_ATTEMPTS": (*NOT_WHOLE, "0", "1001"),
    "LOGIN_LOCKOUT_SEC": (*NOT_NUMBERS, "0.9", "86401"),
    "MATCH_RECORD_DAYS": (*NOT_NUMBERS, "-1", "3651"),
    "HUB_NAME": ("", "EU", "eu west", "-eu", "x" * 33),
    "PEER_HUBS": (
        "us", "us=", "=https://h", "US=https://h", "us=h", "us=ftp://h", "us=https://", "us=https://user:hidden@h",
        "us=https://h,us=https://i", "us=https://h h", "local=https://h",
    ),
    "PEER_SECRET": (*SECRETS, "x" * 15),
    "REQUEST_WAIT_MS": (*NOT_WHOLE, "9", "30001"),
    "PEER_DEADLINE_MS": (*NOT_WHOLE, "9", "10001"),
    "SETTLEMENT_URL": URLS,
    "SETTLEMENT_SECRETS": (
        "good-long-enough", "whsec_", "whsec_MTIz", "whsec_" + "A" * 31, "whsec_" + "A" * 88, "whsec_" + "!" * 32,
        "whsec_" + "A" * 32 + ",x", "A" * 32,
    ),
    "SETTLEMENT_BACKEND": ("", "EVM", "web3"),
    "EVM_RPC_URL": URLS,
    "EVM_CHAIN_ID": (*NOT_WHOLE, "-1", "9007199254740993"),
    "EVM_TOKEN_ADDRESS": ("0x", "0x12", "52908400098527886E0F7030069857D2E4169EE7", "0x" + "0" * 40, "0x" + "g" * 40),
    "EVM_TOKEN_DECIMALS": (*NOT_WHOLE, "-1", "78"),
    "EVM_PRIVATE_KEY": ("hidden", "0xhidden" + "1" * 58, "0x" + "0" * 64, "0x" + "1" * 65, "1" * 64),
    "EVM_CONFIRMATIONS": (*NOT_WHOLE, "0", "10001"),
    "EVM_BUMP_SEC": (*NOT_NUMBERS, "0.9", "86401"),
    "EVM_MAX_FEE_GWEI": (*NOT_NUMBERS, "0", "1000001"),
    "SETTLEMENT_TIMEOUT_SEC": (*NOT_NUMBERS, "0", "121"),
    "SETTLEMENT_ATTEMPTS": (*NOT_WHOLE, "0", "101"),
    "SETTLEMENT_PARALLEL": (*NOT_WHOLE, "0", "65"),
    "OUTBOUND_ALLOW": NETWORKS,
    "MARKET_FEED_DIR": ("no/such/folder", "manage.py"),
    "MARKET_HISTORY_DAYS": (*NOT_NUMBERS, "-1", "36501"),
    "DB_DSN": (
        "", "hub.sqlite3", "mysql://h/x", "sqlite:///", "sqlite://hub.sqlite3", "sqlite:///:memory:", "sqlite:////",
        "sqlite:///no/such/folder/hub.sqlite3", "postgresql://", "postgresql://h", "postgresql://u:hidden%zz@h/x",
        "postgresql://u:hidden@h:abc/x", "postgresql://u:hidden@h:0/x", "postgresql://u:hidden@h:65536/x",
        "postgresql://u:hidden@h/x?hidden=1", "postgresql://u:hidden@[::1/x",
    ),
    "DB_POOL_SIZE": (*NOT_WHOLE, "0", "501"),
    "REDIS_URL": (
        "h:6379", "http://h", "redis:h", "redis://", "redis:///0", "redis://h:abc", "redis://h:65536", "redis://h/x",
        "redis://h/-1", "redis://u:hid#den@h/0", "redis://h?socket_timeout=hidden", "redis://h?hidden=1", "unix://",
        "redis://[::1/0",
    ),
}  # fmt: skip


def test_the_table_of_absurd_values_has_every_setting() -> None:
    assert ABSURD.keys() == EXAMPLE.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}={value[:40].encode('unicode_escape').decode()}")
        for name, values in ABSURD.items()
        for value in values
    ],
)
def test_an_absurd_value_stops_the_start_with_one_line_that_names_it(refused, name, value) -> None:
    told = refused(**{name: value})
    assert told.startswith(f"pool-hub does not start: {name}: ")
    assert "hidden" not in told  # part of a password


@pytest.mark.parametrize("name", ["SECRET_KEY", "API_KEY_PEPPER", "COORDINATOR_SHARED_SECRET", "ADMIN_SHARED_SECRET"])
def test_a_refused_secret_is_not_repeated(refused, name) -> None:
    assert "good-long" not in refused(**{name: SECRETS[1]})


def test_every_secret_that_is_read_is_known_to_the_log(load) -> None:
    read = load(
        PEER_SECRET="peer-secret-000001", COORDINATOR_SHARED_SECRET="coordinator-000001,coordinator-000002",
        ADMIN_SHARED_SECRET="admin-secret-000001", DB_DSN="postgresql://u:p%40ss-of-db@h/x", REDIS_URL="redis://u:p%40ss@h",
    )["read"]  # fmt: skip
    given = {"peer-secret-000001", "coordinator-000001", "coordinator-000002", "admin-secret-000001"}
    assert read.confidential == {*given, *REQUIRED.values(), "p@ss-of-db", "p@ss", "p%40ss"}


def test_debug_in_production_stops_the_start(refused) -> None:
    assert refused(**PRODUCTION, DEBUG="true") == (
        "pool-hub does not start: DEBUG: it must be off with POOLHUB_ENV=production\n"
    )


def test_a_grace_period_shorter_than_the_session_stops_the_start(refused) -> None:
    told = refused(SESSION_TTL_SEC="30", HEARTBEAT_GRACE_SEC="29.5")
    assert told == (
        "pool-hub does not start: HEARTBEAT_GRACE_SEC: it must not be less than SESSION_TTL_SEC, which is 30 s\n"
    )


def test_an_address_of_settlement_without_a_secret_stops_the_start(refused) -> None:
    told = refused(SETTLEMENT_URL="https://pay.example.com/hook")
    assert told == (
        "pool-hub does not start: SETTLEMENT_SECRETS: it must be set with SETTLEMENT_URL: events are signed\n"
    )


EVM = {
    "SETTLEMENT_BACKEND": "evm", "EVM_RPC_URL": "https://node.example.com/", "EVM_CHAIN_ID": "1",
    "EVM_TOKEN_ADDRESS": "0x" + "1" * 40, "EVM_PRIVATE_KEY": "0x" + "2" * 64,
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in EVM if name != "SETTLEMENT_BACKEND"])
def test_settlement_on_a_chain_needs_all_of_its_settings(load, refused, name) -> None:
    assert load(**EVM)["EVM_CHAIN_ID"] == 1
    left = {each: value for each, value in EVM.items() if each != name}
    assert refused(**left) == f"pool-hub does not start: {name}: it must be set with SETTLEMENT_BACKEND=evm\n"


def test_a_named_file_that_is_not_there_stops_the_start(refused, tmp_path) -> None:
    told = refused(POOLHUB_ENV_FILE=str(tmp_path / "gone.env"))
    assert told == f"pool-hub does not start: POOLHUB_ENV_FILE: there is no file {tmp_path}/gone.env\n"
    assert "there is no file" in refused(POOLHUB_ENV_FILE=str(tmp_path))


def test_a_file_that_is_no_text_stops_the_start(refused, tmp_path) -> None:
    (tmp_path / "bad.env").write_bytes(b"LOG_LEVEL=\xff\n")
    assert f"{tmp_path}/bad.env: it cannot be read" in refused(POOLHUB_ENV_FILE=str(tmp_path / "bad.env"))


def test_the_environment_wins_over_the_file(load, tmp_path) -> None:
    (tmp_path / "hub.env").write_text("LOG_LEVEL=ERROR\nPOOLHUB_PORT=9000\n")
    found = load(POOLHUB_ENV_FILE=str(tmp_path / "hub.env"), LOG_LEVEL="DEBUG")
    assert (found["LOG_LEVEL"], found["POOLHUB_PORT"]) == ("DEBUG", 9000)


def test_spaces_around_values_do_not_count(load) -> None:
    found = load(LOG_LEVEL=" DEBUG ", ALLOWED_HOSTS=" a.example.com , [::1] ,", DEFAULT_WEIGHTS=" cap = 1 , load = 3 ")
    assert found["LOG_LEVEL"] == "DEBUG"
    assert found["ALLOWED_HOSTS"] == ["a.example.com", "[::1]"]
    assert found["DEFAULT_WEIGHTS"] == {"cap": 1, "price": 0, "latency": 0, "trust": 0, "load": 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POOLHUB_HOST", "0.0.0.0"), ("POOLHUB_HOST", "::"), ("POOLHUB_HOST", "[::1]"), ("POOLHUB_HOST", "localhost"),  # noqa: S104
        ("ALLOWED_HOSTS", "*"), ("ALLOWED_HOSTS", ".example.com,10.0.0.1,hub_1.internal"),
        ("CSRF_TRUSTED_ORIGINS", "https://hub.example.com,http://*.example.com:8443,https://[::1]:8443"),
        ("COORDINATOR_ALLOWLIST", "10.0.0.0/8,::1,192.0.2.7"), ("RATELIMIT_MATCH", ""), ("RATELIMIT_MATCH", "100/5m"),
        ("REDIS_URL", "redis://h"), ("REDIS_URL", "redis://u:p%23@h:6380/3"), ("REDIS_URL", "rediss://[::1]:6379/0"),
        ("REDIS_URL", "unix:///run/valkey.sock?db=1"), ("REDIS_URL", "redis://h/0?socket_timeout=2"),
        ("DB_DSN", "postgresql:///name?host=/run/postgresql"), ("DB_DSN", "postgresql://a:1,b:2/name?sslmode=require"),
        ("SOFT_HOLD_MS", "0"), ("MATCH_RECORD_DAYS", "0.5"), ("MATCH_RECORD_SAMPLE", "1e-3"), ("DEBUG", "No"),
    ],
)  # fmt: skip
def test_a_sensible_value_is_taken(load, name, value) -> None:
    assert load(**{name: value})


def test_an_address_in_brackets_loses_them(load) -> None:
    assert load(POOLHUB_HOST="[::1]")["POOLHUB_HOST"] == "::1"


def test_several_secrets_are_valid_at_once(load) -> None:
    assert load(ADMIN_SHARED_SECRET="a" * 16 + ", " + "b" * 20)["ADMIN_SHARED_SECRET"] == ("a" * 16, "b" * 20)


def test_a_postgresql_address_becomes_django_s_settings(load) -> None:
    found = load(DB_DSN="postgresql://u:p%40ss@db:5433/hub?sslmode=require", DB_POOL_SIZE="3")["DATABASES"]["default"]
    named = {name: found[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
    assert named == {"NAME": "hub", "USER": "u", "PASSWORD": "p@ss", "HOST": "db", "PORT": "5433"}
    assert found["OPTIONS"]["sslmode"] == "require"
    assert found["OPTIONS"]["pool"]["max_size"] == 3


def test_an_sqlite_address_is_relative_to_the_root_or_absolute(load, tmp_path) -> None:
    assert load(DB_DSN="sqlite:///hub.sqlite3")["DATABASES"]["default"]["NAME"] == ROOT / "hub.sqlite3"
    absolute = load(DB_DSN=f"sqlite:///{tmp_path}/hub.sqlite3")
    assert absolute["DATABASES"]["default"]["NAME"] == tmp_path / "hub.sqlite3"


@pytest.mark.parametrize(
    "command",
    [["-c", "import poolhub.settings"], ["manage.py", "check"], ["manage.py", "serve"], ["-c", "import poolhub.wsgi"]],
)
def test_a_process_that_is_refused_ends_with_code_2_and_that_line_alone(command) -> None:
    env = {**REQUIRED, "POOLHUB_ENV_FILE": "", "POOLHUB_PORT": "70000", "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr == "pool-hub does not start: POOLHUB_PORT: it must be from 0 to 65535, not 70000\n"
