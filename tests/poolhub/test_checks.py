"""`manage.py check`: what of the settings would lose data or lie."""

import os
import subprocess
import sys

import pytest
from django.core import checks as django_checks

from poolhub.checks import (
    WORKER_VARIABLES,
    one_process_without_redis,
    production_settings,
    settlement_on_a_chain,
)
from tests.hub import ROOT

pytestmark = pytest.mark.pure


@pytest.fixture(autouse=True)
def no_workers(monkeypatch) -> None:
    for name in WORKER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def ids(found: list[django_checks.CheckMessage]) -> list[str | None]:
    assert all(isinstance(each, django_checks.Error) for each in found)
    return [each.id for each in found]


@pytest.mark.parametrize("name", WORKER_VARIABLES)
@pytest.mark.parametrize(("count", "want"), [("2", True), (" 4 ", True), ("1", False), ("0", False), ("", False),
                                             ("x", False), ("²", False), ("-3", False), ("9" * 5000, False)])  # fmt: skip
def test_several_processes_without_redis_are_an_error(settings, monkeypatch, name, count, want) -> None:
    settings.REDIS_URL = ""
    monkeypatch.setenv(name, count)
    assert ids(one_process_without_redis()) == (["poolhub.E001"] if want else [])


def test_the_error_names_the_variable_and_its_number(settings, monkeypatch) -> None:
    settings.REDIS_URL = ""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    assert [each.msg for each in one_process_without_redis()] == [
        "WEB_CONCURRENCY asks for 4 processes, but REDIS_URL is empty"
    ]


def test_several_processes_with_redis_are_fine(settings, monkeypatch) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:6379/0"
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    assert ids(one_process_without_redis()) == []


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, []),
        ({"PRODUCTION": False}, ["poolhub.E002"]),
        ({"ENROLLMENT": "open"}, ["poolhub.E003"]),
        ({"SETTLEMENT_URL": "http://pay.example.com/"}, ["poolhub.E005"]),
        ({"SETTLEMENT_URL": "https://pay.example.com/"}, []),
        ({"SETTLEMENT_URL": "http://127.0.0.1:9100/"}, []),
        ({"COORDINATOR_SHARED_SECRET": ()}, ["poolhub.E004"]),
        ({"PEER_HUBS": {"us": "https://us.example.com", "test": "http://127.0.0.1:1"}}, []),
        ({"PEER_HUBS": {"us": "http://us.example.com"}}, ["poolhub.E008"]),
        ({"COORDINATOR_SHARED_SECRET": (), "ADMIN_SHARED_SECRET": ()}, ["poolhub.E004", "poolhub.E004"]),
    ],
)
def test_what_a_deployment_must_not_have(settings, changes, want) -> None:
    settings.PRODUCTION, settings.ENROLLMENT = True, "closed"
    settings.COORDINATOR_SHARED_SECRET = settings.ADMIN_SHARED_SECRET = ("a-secret-that-is-set",)
    for name, value in changes.items():
        setattr(settings, name, value)
    assert ids(production_settings()) == want


def test_the_deployment_checks_run_with_deploy_alone() -> None:
    registry = django_checks.registry.registry
    assert one_process_without_redis in registry.registered_checks
    assert production_settings in registry.deployment_checks
    assert production_settings not in registry.registered_checks


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_command_refuses_to_run_with_settings_that_fail(command, tmp_path) -> None:
    env = {**os.environ, "POOLHUB_ENV_FILE": "tests/embedded.env", "DJANGO_SETTINGS_MODULE": "poolhub.settings",
           "WEB_CONCURRENCY": "2", "REDIS_URL": "", "DB_DSN": f"sqlite:///{tmp_path}/hub.sqlite3"}  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "(poolhub.E001) WEB_CONCURRENCY asks for 2 processes, but REDIS_URL is empty" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "hub.sqlite3").exists()


@pytest.mark.parametrize(
    ("address", "want"),
    [
        ("0x52908400098527886E0F7030069857D2E4169EE7", []),
        ("0x52908400098527886e0F7030069857D2E4169EE7", ["poolhub.E007"]),
        ("0x52908400098527886e0f7030069857d2e4169ee7", []),  # without a checksum
    ],
)
def test_a_token_s_mistyped_address_is_an_error(settings, address, want) -> None:
    settings.SETTLEMENT_BACKEND, settings.EVM_TOKEN_ADDRESS = "evm", address
    assert ids(settlement_on_a_chain()) == want


WITHOUT_WEB3 = """
import sys
from importlib.abc import MetaPathFinder

class Without(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("web3", "eth_account", "eth_utils", "eth_abi"):
            raise ModuleNotFoundError(name)
        return None

sys.meta_path.insert(0, Without())
import django
django.setup()
from django.urls import get_resolver
assert get_resolver().url_patterns
import poolhub.chores, settlement.backends.runtime
print("fine")
"""


def test_the_hub_runs_without_web3() -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "poolhub.settings", "POOLHUB_ENV_FILE": "tests/embedded.env"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_WEB3], check=False, env=env, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr
