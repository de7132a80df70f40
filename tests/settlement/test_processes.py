"""Settlement between real processes: hub, workers that are killed, and the receiver of the docs."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.flows.callers import Coordinator, Miner
from tests.hub import ROOT, LiveHub, sql
from tests.receivers import Got, Handler, Site, serving
from tests.settlement.builders import SECRET, jobs_at
from tests.settlement.evm import KEY, running_node
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
MINERS, JOBS = 3, 3
CLAIMS_RUN_OUT = """
from settlement.models import EvmAccount, SettlementEvent
for model in (EvmAccount, SettlementEvent):
    model.objects.exclude(claim=None).update(claimed_until="2026-01-01T00:00:00Z")
"""


@pytest.fixture
def run_settle() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """manage.py settle beside a hub, for a receiver."""
    with ExitStack() as stack:

        def start(hub: LiveHub, url: str, **changes: str) -> subprocess.Popen[str]:
            settings = {"SETTLEMENT_URL": url, "SETTLEMENT_SECRETS": SECRET, "OUTBOUND_ALLOW": "127.0.0.1", **changes}
            process = subprocess.Popen(
                [sys.executable, ROOT / "manage.py", "settle"],
                env={**hub.env, **settings},
                stdout=subprocess.DEVNULL,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def work_off(hub: LiveHub, region: str, jobs: int, miners: int = 1, *, wallet_address: str = "") -> list[str]:
    """Jobs of registered miners, matched and completed over HTTP; their ids."""
    coordinator, done = Coordinator(hub), []
    for number in range(miners):
        name = f"{region}-{number}"
        Miner(
            hub,
            name,
            region=region,
            wallet_address=wallet_address or f"wallet-{name}",
            max_parallel=9,
            price_token_per_ksec=2,
        ).register()
        for job in range(jobs):
            coordinator.match(f"{name}-{job}", region)
            coordinator.feedback(f"{name}-{job}", name, "completed", tokens_spent="0.5")
            done.append(f"{name}-{job}")
    return done


@contextmanager
def example_receiver(folder: Path) -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """docs/examples/receiver.py in a process of its own: its address, and its ledger."""
    ledger = folder / "ledger.sqlite3"
    command = [sys.executable, ROOT / "docs/examples/receiver.py", "--port", "0", "--ledger", ledger]
    env = {**os.environ, "SETTLEMENT_SECRETS": SECRET}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()

        def rows() -> list[Any]:
            with sqlite3.connect(ledger, timeout=10) as opened:
                found = opened.execute("SELECT job, wallet, tokens FROM payments ORDER BY job").fetchall()
            opened.close()
            return found

        try:
            yield url, rows
        finally:
            process.kill()


def test_a_worker_killed_between_send_and_mark_sends_the_same_event_again_and_it_is_paid_once(
    live_hub, run_settle, tmp_path
) -> None:
    """In the way to the receiver stands a site that hands the event on, and keeps its answer to itself."""
    hub = live_hub
    (job,) = work_off(hub, "kill", 1)
    of_job = f"SELECT state, attempts FROM settlement_settlementevent WHERE job_id = '{job}'"
    with example_receiver(tmp_path) as (url, ledger), serving() as site:
        site.answer = hand_on(url, site)
        first = run_settle(hub, site.url(), SETTLEMENT_TIMEOUT_SEC="0.5")
        until(lambda: any(row[0] == job for row in ledger()), limit_s=40)
        first.kill()
        assert first.wait(10) == -9
        assert sql(hub.env["DB_DSN"], of_job) == [("pending", 1)]

        def settled() -> bool:
            second = run_settle(hub, url, SETTLEMENT_TIMEOUT_SEC="0.5")
            assert second.wait(30) == 0
            return sql(hub.env["DB_DSN"], of_job) == [("delivered", 2)]

        until(settled, limit_s=30)  # once the claim of the killed one has run out
        assert [row for row in ledger() if row[0] == job] == [(job, "wallet-kill-0", "0.50000000")]
        assert jobs_at(site).count(job) == 1


def hand_on(url: str, site: Site) -> Callable[[Handler, Got], None]:
    import httpx

    def answer(handler: Handler, got: Got) -> None:
        named = {name: value for name, value in got.headers.items() if name.startswith(("webhook", "content-type"))}
        assert httpx.post(url, content=got.body, headers=named).status_code == 204
        site.over.wait(30)

    return answer


def test_two_workers_share_the_work_each_event_comes_once_and_in_order(live_hub, run_settle) -> None:
    jobs = work_off(live_hub, "two", JOBS, MINERS)
    with serving() as site:
        workers = [run_settle(live_hub, site.url(), SETTLEMENT_PARALLEL="2") for _ in range(2)]
        assert [each.wait(60) for each in workers] == [0, 0]
        came = [job for job in jobs_at(site) if job.startswith("two-")]
    assert sorted(came) == sorted(jobs)
    for number in range(MINERS):
        mine = [each for each in came if each.startswith(f"two-{number}-")]
        assert mine == sorted(mine)


def test_the_running_hub_delivers_by_itself_to_the_receiver_of_the_docs(start_hub, tmp_path) -> None:
    with example_receiver(tmp_path) as (url, ledger):
        hub = start_hub(SETTLEMENT_URL=url, SETTLEMENT_SECRETS=SECRET, OUTBOUND_ALLOW="127.0.0.1")
        jobs = work_off(hub, "self", 2)
        until(lambda: len(ledger()) == 2, limit_s=30)
        assert ledger() == [(job, "wallet-self-0", "0.50000000") for job in jobs]
        assert hub.stop() == 0


def test_a_worker_killed_while_it_sends_a_transaction_leaves_it_to_the_next_and_it_is_paid_once(
    live_hub, run_settle
) -> None:
    hub, wallet = live_hub, "0x52908400098527886E0F7030069857D2E4169EE7"
    (job,) = work_off(hub, "chain", 1, wallet_address=wallet)
    of_job = f"SELECT state, attempts FROM settlement_settlementevent WHERE job_id = '{job}'"
    with running_node() as node:
        chain = {
            "SETTLEMENT_BACKEND": "evm", "EVM_RPC_URL": node.url, "EVM_CHAIN_ID": str(node.chain_id),
            "EVM_TOKEN_ADDRESS": node.token, "EVM_PRIVATE_KEY": KEY, "EVM_CONFIRMATIONS": "2",
            "SETTLEMENT_TIMEOUT_SEC": "0.5",
        }  # fmt: skip
        node.after = lambda method: node.site.over.wait(60) if method == "eth_sendRawTransaction" else None
        first = run_settle(hub, "", **{**chain, "SETTLEMENT_TIMEOUT_SEC": "60"})
        until(lambda: node.pool, limit_s=40)
        first.kill()
        assert first.wait(10) == -9
        node.after = lambda method: None
        assert sql(hub.env["DB_DSN"], of_job) == [("pending", 1)]
        command = [sys.executable, ROOT / "manage.py", "shell", "--verbosity", "0", "--command", CLAIMS_RUN_OUT]
        subprocess.run(command, env=hub.env, check=True, timeout=60)

        def settled() -> bool:
            node.mine()
            assert run_settle(hub, "", **chain).wait(60) == 0
            return sql(hub.env["DB_DSN"], of_job) == [("delivered", 2)]

        until(settled, limit_s=60)
        assert node.balance(wallet) == 5 * 10**17
        assert sql(hub.env["DB_DSN"], "SELECT count(*) FROM settlement_evmtransfer") == [(1,)]
