"""The admin of a cluster, through nginx: what it shows, and what it does to a socket in another process."""

import subprocess
import sys

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.hub import ROOT
from tests.multiprocess.cluster import Worker, both_workers, running_cluster
from tests.waiting import until

pytestmark = pytest.mark.cluster
PASSWORD = "correct horse battery staple"
MINERS = "/admin/miners/miner/"


@pytest.fixture(scope="module")
def hub(tmp_path_factory, databases):
    """A cluster whose databases the test can reach, to make a user."""
    with running_cluster(tmp_path_factory.mktemp("cluster"), **databases) as started:
        env = {**started.env, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        make = ["createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com"]
        command = [sys.executable, str(ROOT / "manage.py"), *make]
        subprocess.run(command, env=env, check=True, timeout=60, cwd=ROOT, capture_output=True)
        yield started


@pytest.fixture
def operator(hub):
    with httpx.Client(base_url=hub.front, timeout=10, follow_redirects=True) as client:
        client.get("/admin/login/")
        reply = send(client, "/admin/login/", username="root", password=PASSWORD)
        assert reply.url.path == "/admin/", reply.text[:2000]
        yield client


def send(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    return client.post(path, data={**form, "csrfmiddlewaretoken": client.cookies["poolhub_csrf"]})


def test_the_dashboard_counts_over_all_processes_and_knows_every_part(hub, operator) -> None:
    hub.register("dash-1", region="dash", max_parallel=3)
    operator.get("/admin/")
    found = operator.get("/admin/dashboard.json").json()
    assert found["counts_of"] == "machine"
    parts = found["parts"]
    assert (parts["status"], parts["database"], parts["redis"], parts["worker"]) == ("ok", "ok", "ok", "ok")
    assert found["reservations"] is not None


def test_disabling_in_the_admin_closes_the_socket_in_another_process(hub, operator) -> None:
    token = hub.register("dash-2", region="dash")
    with hub.socket(hub.socket_bases[0], token) as socket:
        pk = operator.get("/admin/autocomplete/", params={
            "app_label": "miners", "model_name": "priceoverride", "field_name": "miner", "term": "dash-2",
        }).json()["results"][0]["id"]  # fmt: skip
        done = send(operator, MINERS, action="disable", _selected_action=pk, confirmed="yes", reason="a test")
        assert "1 miner disabled." in done.text
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4403


def test_a_round_trip_set_in_the_admin_counts_in_every_process(hub, operator) -> None:
    hints = {"region": "rt-near", "spillover": True}
    asked = {"job_id": "rt", "requirements": {"tags_any": ["rt"]}, "hints": hints, "dry_run": True}

    def latency(worker: Worker) -> float | None:
        found = worker.match(**asked)["candidates"]
        return found[0]["components"]["latency"] if found else None

    hub.register("rt-1", region="rt-far", tags=["rt"])
    with both_workers(hub) as workers:
        for each in workers:
            until(lambda: latency(each) == 0.25, 5, "0.5, twice as far as half of it counts")  # noqa: B023
        done = send(operator, "/admin/miners/roundtrip/add/", region="rt-near", other="rt-far", operator_ms="30")
        assert "The round trip" in done.text
        for each in workers:
            until(lambda: latency(each) == 0.45, 5, "30 of 300 ms taken off")  # noqa: B023
