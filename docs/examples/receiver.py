"""A receiver of Pool Hub's settlement events: verifies the signature, pays each event once, and answers.

    pip install standardwebhooks
    SETTLEMENT_SECRETS=whsec_… python docs/examples/receiver.py --port 9100 --ledger ledger.sqlite3

Its ledger is an SQLite file: the event's id is the primary key, so that an event which comes twice is paid once. The
row is committed before the answer. A real payment belongs in the place of `pay`, in the same transaction or idempotent
by the event's id.
"""

import argparse
import os
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

MAX_BODY_BYTES = 65_536


class Receiver(BaseHTTPRequestHandler):
    webhooks: list[Webhook]
    ledger: str

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MAX_BODY_BYTES:
            self.answer(413)
            return
        body = self.rfile.read(length)
        event = self.verified(body)
        if event is None:
            self.answer(401)
            return
        self.pay(self.headers["webhook-id"], event["data"])
        self.answer(204)

    def verified(self, body: bytes) -> dict | None:
        """The event, if one of our secrets signed it within the last five minutes."""
        for webhook in self.webhooks:
            try:
                return webhook.verify(body, dict(self.headers))
            except WebhookVerificationError:
                continue
        return None

    def pay(self, event_id: str, data: dict) -> None:
        with sqlite3.connect(self.ledger, timeout=10) as ledger:
            paid = ledger.execute(
                "INSERT OR IGNORE INTO payments VALUES (?, ?, ?, ?, ?)",
                (event_id, data["job_id"], data["miner_id"], data["wallet_address"], data["tokens_spent"]),
            )
        ledger.close()
        print("paid" if paid.rowcount else "known", data["tokens_spent"], "for", data["job_id"], flush=True)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """`pay` says what matters."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--ledger", default="ledger.sqlite3")
    arguments = parser.parse_args()
    secrets = [each.strip() for each in os.environ.get("SETTLEMENT_SECRETS", "").split(",") if each.strip()]
    if not secrets:
        sys.exit("SETTLEMENT_SECRETS is empty")
    Receiver.webhooks = [Webhook(secret) for secret in secrets]
    Receiver.ledger = arguments.ledger
    with sqlite3.connect(arguments.ledger) as ledger:
        ledger.execute("CREATE TABLE IF NOT EXISTS payments (event TEXT PRIMARY KEY, job, miner, wallet, tokens)")
    ledger.close()
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
