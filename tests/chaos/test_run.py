"""One short fault, so that the machinery of `make chaos` works when it is needed; and a cluster that restarts its parts."""

import asyncio
import os
import signal

import pytest

from tests.chaos.faults import ALL
from tests.chaos.hub import Chaos, is_healthy
from tests.chaos.run import run
from tests.multiprocess.cluster import child_with, children
from tests.waiting import until

pytestmark = pytest.mark.cluster

PARTS = ("granian", "poolhub.asgi", "manage.py\0worker", "nginx")


def kill_all_parts(chaos: Chaos) -> None:
    """One of each kind: the cluster has them again, all of them new."""
    hub = chaos.hub
    killed = {child_with(hub.process.pid, word) for word in PARTS}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(
        lambda: len(children(hub.process.pid)) == 5 and killed.isdisjoint(children(hub.process.pid)),
        60,
        "all are there",
    )
    for port in (hub.ports.rest, *hub.ports.sockets, hub.ports.nginx):
        until(lambda: is_healthy(port), 60, f"{port} answers")  # noqa: B023


def test_a_killed_rest_worker_costs_nothing_that_was_acknowledged_and_a_cluster_that_restarts_has_its_parts_again(
    tmp_path,
) -> None:
    fault = next(each for each in ALL if each.name == "kill -9 of a REST worker")
    (row,) = asyncio.run(run([fault], 1, tmp_path, after_s=3.0, timed=False, then=kill_all_parts))
    assert row.broken == ()
    assert "200: " in row.matches
    assert row.others.count("201: ") == 1
