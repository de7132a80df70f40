"""The steps of docs/settlement.md, taken from its text and run as it says."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import jsonschema

from tests.docs.pages import section, text_of
from tests.hub import ROOT
from tests.waiting import until

PAGE = Path("docs/settlement.md")
STEPS = re.findall(r"^```(\w*)\n(.*?)^```$", section(PAGE, "A receiver in ten minutes", 2), re.DOTALL | re.MULTILINE)
SCHEMA = json.loads((ROOT / "docs/schemas/settlement-event.schema.json").read_text())


def test_a_reader_who_follows_the_steps_is_told_of_a_payment(start_hub, tmp_path) -> None:
    (_, make_secret), (_, start_receiver), (_, settings), (_, complete) = STEPS
    secret = subprocess.run(
        shlex.split(make_secret.replace("python3", sys.executable)), check=True, capture_output=True, text=True
    ).stdout.strip()
    assert secret.startswith("whsec_")

    install, run = start_receiver.strip().splitlines()
    assert install.split("#")[0].split()[-1] == "standardwebhooks"
    assignment, _, *arguments = shlex.split(run)
    arguments[arguments.index("--port") + 1] = "0"
    arguments[arguments.index("--ledger") + 1] = str(tmp_path / "ledger.sqlite3")
    name = assignment.partition("=")[0]
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env={name: secret}, stdout=subprocess.PIPE, text=True
    ) as receiver:
        try:
            assert receiver.stdout is not None
            address = receiver.stdout.readline().removeprefix("listening on ").strip()
            env = dict(line.split("=", 1) for line in settings.strip().splitlines())
            assert set(env) == {"SETTLEMENT_URL", "SETTLEMENT_SECRETS", "OUTBOUND_ALLOW"}
            hub = start_hub(**{**env, "SETTLEMENT_URL": address, "SETTLEMENT_SECRETS": secret})
            body = json.loads(re.search(r"-d '(.*)'", complete, re.DOTALL)[1])  # type: ignore[index]
            registered = {"miner_id": body["miner_id"], "api_key": "key-0123456789abcdef", "addr": "h:1"}
            assert httpx.post(f"{hub.base}/v1/miners/register", json=registered, timeout=10).status_code == 201
            path = re.search(r"\$HUB(\S+)", complete)[1]  # type: ignore[index]
            reply = httpx.post(hub.base + path, json=body, headers=hub.coordinator, timeout=10)
            assert reply.status_code == 201, reply.text
            assert f"`{receiver.stdout.readline().strip()}`" in section(PAGE, "A receiver in ten minutes", 2)

            def told():
                return httpx.get(
                    f"{hub.base}/v1/settlements?miner_id={body['miner_id']}", headers=hub.coordinator
                ).json()

            until(lambda: told()["results"][0]["state"] == "delivered", limit_s=20)
        finally:
            receiver.kill()


def test_the_event_that_the_page_shows_is_one_of_its_schema() -> None:
    shown = re.search(r"^```json\n(.*?)^```$", text_of(PAGE), re.DOTALL | re.MULTILINE)
    assert shown is not None
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(json.loads(shown[1]))


def test_every_setting_of_a_chain_that_the_page_names_is_needed_there() -> None:
    named = re.findall(r"^(SETTLEMENT_BACKEND|EVM_\w+)=", section(PAGE, "On a chain", 2), re.MULTILINE)
    assert named == [
        "SETTLEMENT_BACKEND", "EVM_RPC_URL", "EVM_CHAIN_ID", "EVM_TOKEN_ADDRESS", "EVM_TOKEN_DECIMALS",
        "EVM_PRIVATE_KEY",
    ]  # fmt: skip
