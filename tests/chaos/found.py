"""What is there after a fault: in the database, in each process, and at the receiver of settlements."""

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from urllib.parse import quote

import psycopg

from tests.chaos.checker import FeedbackRow, Found, MinerFound
from tests.multiprocess.cluster import RunningCluster, both_workers
from tests.receivers import Got

UNITS = "100000000::numeric"  # the database keeps prices in whole units
MINERS = (
    "SELECT miner_id, wallet_address, disabled, logged_out, operator_drain, "
    f"price_cap / {UNITS}, trust_s, trust_f, "
    "extract(epoch FROM trust_at)::float8 FROM miners_miner"
)
FEEDBACK = (
    "SELECT job_id, miners_miner.miner_id, outcome, fail_code, tokens_spent, "
    "extract(epoch FROM feedback_feedback.created_at)::float8 "
    "FROM feedback_feedback JOIN miners_miner ON miners_miner.id = feedback_feedback.miner_id ORDER BY feedback_feedback.id"
)
OVERRIDES = (
    f"SELECT reason, miners_miner.miner_id, miners_priceoverride.price / {UNITS} "
    "FROM miners_priceoverride JOIN miners_miner ON miners_miner.id = miners_priceoverride.miner_id"
)
COMMANDS = (
    "SELECT miners_minercommand.id::text, miners_miner.miner_id, name, status "
    "FROM miners_minercommand JOIN miners_miner ON miners_miner.id = miners_minercommand.miner_id"
)
EVENTS = "SELECT job_id, miner_id, tokens_spent FROM settlement_settlementevent ORDER BY id"


def in_database(dsn: str) -> Found:
    """As of one moment."""
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return Found(
            miners={miner_id: MinerFound(*rest) for miner_id, *rest in connection.execute(MINERS)},
            feedback=[FeedbackRow(*row) for row in connection.execute(FEEDBACK)],
            overrides={reason: (miner_id, price) for reason, miner_id, price in connection.execute(OVERRIDES)},
            commands={each: (miner_id, name, status) for each, miner_id, name, status in connection.execute(COMMANDS)},
            events=list(connection.execute(EVENTS)),
        )


def in_processes(hub: RunningCluster) -> Iterator[tuple[str, dict[str, tuple[str, float]]]]:
    """By process, each miner's state and trust, as it lists them to operators."""
    with both_workers(hub) as workers:
        for number, worker in enumerate(workers, start=1):
            yield f"REST worker {number}", listed(worker._connection, hub)
    for number, port in enumerate(hub.ports.sockets, start=1):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            yield f"socket process {number}", listed(connection, hub)


def listed(connection: http.client.HTTPConnection, hub: RunningCluster) -> dict[str, tuple[str, float]]:
    shown: dict[str, tuple[str, float]] = {}
    cursor = ""
    while True:
        connection.request("GET", f"/v1/miners?limit=500{cursor}", headers=hub.admin)
        page = json.loads(connection.getresponse().read())
        shown |= {each["miner_id"]: (each["state"], each["trust"]) for each in page["results"]}
        if page["next_cursor"] is None:
            return shown
        cursor = f"&cursor={quote(page['next_cursor'])}"


def at_receiver(got: Sequence[Got]) -> list[tuple[str, str]]:
    """Job and miner of each delivery, in the order in which they came."""
    bodies = [json.loads(each.body)["data"] for each in list(got)]
    return [(body["job_id"], body["miner_id"]) for body in bodies]
