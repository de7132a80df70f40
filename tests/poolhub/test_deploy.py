"""deploy/systemd starts what `make cluster` starts, hardened, and gives it time to end."""

import configparser
import re
import shlex

import pytest

from poolhub import parts
from tests.hub import ROOT

pytestmark = pytest.mark.pure
UNITS = ROOT / "deploy" / "systemd"
PARTS = {
    "poolhub-rest.service": ["python", *parts.rest_command("127.0.0.1", 8203)[1:]],
    "poolhub-socket@.service": ["python", *parts.socket_command("127.0.0.1", 8204)[1:]],
    "poolhub-worker.service": ["python", *parts.manage_command("worker")[1:]],
}
HARDENED = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
    "PrivateDevices": "yes", "ProtectKernelModules": "yes", "ProtectControlGroups": "yes", "RestrictNamespaces": "yes",
    "MemoryDenyWriteExecute": "yes", "CapabilityBoundingSet": "", "UMask": "0077", "User": "poolhub",
}  # fmt: skip


def unit(name: str) -> configparser.ConfigParser:
    """The last value of each setting."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(re.sub(r"\\\n\s*", "", (UNITS / name).read_text()))
    return parser


@pytest.mark.parametrize("name", PARTS)
def test_a_unit_starts_what_the_cluster_starts(name) -> None:
    tool, *options = shlex.split(unit(name)["Service"]["ExecStart"].replace("%i", "8204"))
    wanted_tool, *wanted = PARTS[name]
    assert tool.rpartition("/")[2] == wanted_tool
    assert options == wanted


@pytest.mark.parametrize("name", PARTS)
def test_a_unit_is_hardened_drains_and_comes_back(name) -> None:
    service = unit(name)["Service"]
    assert {key: service[key] for key in HARDENED} == HARDENED
    assert service["KillMode"] == "mixed"  # granian's own process tells its workers
    assert service["Restart"] == "always"
    assert int(service["TimeoutStopSec"]) > 15 + 5  # --workers-kill-timeout, and what comes after it


def test_the_processes_of_a_machine_count_in_one_folder_that_is_made_anew() -> None:
    kept = unit("poolhub-metrics.service")
    assert kept["Unit"]["StopWhenUnneeded"] == "yes"
    for name in PARTS:
        text = (UNITS / name).read_text()
        assert f"PROMETHEUS_MULTIPROC_DIR=/run/{kept['Service']['RuntimeDirectory']}\n" in text
        assert unit(name)["Unit"]["Requires"] == "poolhub-metrics.service"


def test_the_target_starts_all_of_it() -> None:
    wanted = unit("poolhub.target")["Unit"]["Wants"].split()
    sockets = [f"poolhub-socket@{port}.service" for port in parts.ports_from(8203).sockets]
    assert wanted == ["poolhub-rest.service", *sockets, "poolhub-worker.service"]
