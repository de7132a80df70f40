"""Settlement on a real EVM: paid once, whatever the chain, the node and the workers do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from settlement.backends.evm import transfers
from settlement.backends.evm.backend import MAX_WAITING, evm_backend
from settlement.choices import State, TransferState
from settlement.models import EvmAccount, EvmTransaction, EvmTransfer, SettlementEvent
from settlement.services import delivery
from settlement.services.checking import Kind, disagreements
from settlement.services.delivery import events_deliver
from settlement.services.operators import event_replay
from tests.hub import ROOT
from tests.matching.builders import COORDINATOR
from tests.settlement.builders import completed, event, miner
from tests.settlement.evm import KEY, PAYER, SUPPLY, Node, running_node, token_code

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

ALICE, BOB = "0x52908400098527886E0F7030069857D2E4169EE7", "0x8617E340B3D01FA5F11F306F4090FD50E238070D"
QUARTER = 25 * 10**16  # 0.25 of a token with 18 decimals


@pytest.fixture
def node(settings) -> Iterator[Node]:
    with running_node() as running:
        settings.SETTLEMENT_BACKEND = "evm"
        settings.SETTLEMENT_TIMEOUT_SEC = 5.0
        settings.SETTLEMENT_ATTEMPTS = 3
        settings.EVM_RPC_URL = running.url
        settings.EVM_CHAIN_ID = running.chain_id
        settings.EVM_TOKEN_ADDRESS = running.token
        settings.EVM_TOKEN_DECIMALS = 18
        settings.EVM_PRIVATE_KEY = KEY
        settings.EVM_CONFIRMATIONS = 3
        settings.EVM_BUMP_SEC = 60.0
        settings.EVM_MAX_FEE_GWEI = 100.0
        settings.OUTBOUND_ALLOW = (ip_network("127.0.0.1"),)
        yield running


@pytest.fixture
def look(fake_clock, settings):
    """A round of the worker, so much later that what was sent is looked at again, and nothing is replaced yet."""

    def work(*, later_s: float = 5.0):
        fake_clock.advance(later_s)
        return dict(events_deliver())

    return work


def told(job_id: str = "j1", miner_id: str = "m1") -> tuple[str, int]:
    found = event(job_id, miner_id)
    return found.state, found.attempts


def test_a_transfer_is_sent_mined_and_delivered_once_it_is_deep_enough(node, look) -> None:
    miner(wallet_address=ALICE)
    completed()
    assert look() == {"sent": 1}
    sent = event()
    assert (sent.state, sent.delivered_at) == ("sent", None)
    assert sent.transaction == EvmTransaction.objects.get().hash
    assert node.balance(ALICE) == 0
    node.mine()
    for depth in (1, 2):
        assert look() == {}, f"{depth} of 3 blocks"
        assert told() == ("sent", 1)
        node.mine()
    assert look() == {"delivered": 1}
    done = event()
    assert (done.state, done.transaction, done.attempts) == ("delivered", sent.transaction, 1)
    assert done.delivered_at is not None
    assert node.web3.eth.get_transaction_receipt(done.transaction)["status"] == 1
    assert (node.balance(ALICE), node.balance(PAYER)) == (QUARTER, SUPPLY - QUARTER)
    assert look() == {}


def test_nonces_follow_each_other_and_a_miner_s_next_event_waits_for_no_block(node, look) -> None:
    miner("a", wallet_address=ALICE)
    miner("b", wallet_address=BOB)
    for job in ("j1", "j2", "j3"):
        completed(job, "a")
    completed("j1", "b")
    assert look() == {"sent": 4}
    nonces = list(EvmTransfer.objects.order_by("nonce").values_list("nonce", flat=True))
    assert nonces == [1, 2, 3, 4]  # the token's creation was 0
    of_a = EvmTransfer.objects.filter(event__miner_id="a").order_by("nonce")
    assert [each.event.job_id for each in of_a] == ["j1", "j2", "j3"]
    node.mine(6)
    assert look() == {"delivered": 4}
    assert (node.balance(ALICE), node.balance(BOB)) == (3 * QUARTER, QUARTER)


def test_nonces_that_the_account_has_used_elsewhere_are_passed_over(node, look) -> None:
    node.pay_elsewhere()
    node.pay_elsewhere()
    miner(wallet_address=ALICE)
    completed()
    look()
    assert EvmTransfer.objects.get().nonce == 3
    node.mine(3)
    assert look() == {"delivered": 1}


def test_no_more_than_a_node_keeps_are_sent_before_one_is_mined(node, look) -> None:
    miner(wallet_address=ALICE, max_parallel=64)
    for number in range(MAX_WAITING + 1):
        completed(f"j{number:02}")
    assert look() == {"sent": MAX_WAITING, "later": 1}
    assert told(f"j{MAX_WAITING}") == ("pending", 0)
    node.mine()
    look()
    assert told(f"j{MAX_WAITING}") == ("sent", 1)


@pytest.mark.parametrize(
    ("wallet", "amount", "decimals", "error"),
    [
        ("", "0.25", 18, "no address"),
        ("wallet-of-m1", "0.25", 18, "no address"),
        ("0x" + "0" * 40, "0.25", 18, "no address"),
        (ALICE.replace("E", "e", 1), "0.25", 18, "no address"),  # a letter that the checksum does not have so
        (ALICE[2:], "0.25", 18, "no address"),
        (ALICE, "0.12345678", 6, "no whole number of the token's smallest unit, 1e-6"),
    ],
)
def test_what_cannot_be_paid_is_a_dead_letter_with_its_reason(
    node, settings, look, wallet, amount, decimals, error
) -> None:
    settings.EVM_TOKEN_DECIMALS = decimals
    miner(wallet_address=wallet)
    completed(tokens=amount)
    assert look() == {"dead": 1}
    assert error in event().last_error
    assert not EvmTransfer.objects.exists()


def test_an_amount_of_nothing_is_settled_without_a_transaction(node, look) -> None:
    miner(wallet_address=ALICE)
    completed(tokens="0")
    assert look() == {"delivered": 1}
    assert event().transaction == ""
    assert not EvmTransfer.objects.exists()


def test_exactly_the_smallest_unit_is_paid(node, settings, look) -> None:
    settings.EVM_TOKEN_DECIMALS = 8
    miner(wallet_address=ALICE)
    completed("j1", tokens="0.00000001")
    completed("j2", tokens="123456789.12345678")
    look()
    node.mine(5)
    assert look() == {"delivered": 2}
    assert node.balance(ALICE) == 1 + 12_345_678_912_345_678


def test_a_transaction_that_nobody_mines_is_replaced_with_higher_fees_and_the_same_nonce(node, look, settings) -> None:
    node.price = 10**12  # above EVM_MAX_FEE_GWEI
    miner(wallet_address=ALICE)
    completed()
    look()
    first = EvmTransaction.objects.get()
    assert look(later_s=settings.EVM_BUMP_SEC - 1) == {}
    assert EvmTransaction.objects.count() == 1
    look()
    second = EvmTransaction.objects.latest("id")
    assert second.pk != first.pk
    assert second.most_fee * 1000 >= first.most_fee * 1125
    assert second.tip_fee * 1000 >= first.tip_fee * 1125
    assert EvmTransfer.objects.get().nonce == 1
    assert event().transaction == second.hash
    assert node.pool[1][0]["hash"] == second.hash  # the node has taken it for the first
    node.price = second.most_fee
    node.mine(3)
    assert look() == {"delivered": 1}
    assert event().transaction == second.hash
    assert node.balance(ALICE) == QUARTER


def test_the_older_of_two_transactions_may_be_the_one_that_is_mined(node, look, settings) -> None:
    miner(wallet_address=ALICE)
    completed()
    look()
    held = node.pool[1]
    look(later_s=settings.EVM_BUMP_SEC + 5)
    assert EvmTransaction.objects.count() == 2
    node.pool[1] = held  # the block's maker had not heard of the second
    node.mine(3)
    assert look() == {"delivered": 1}
    assert event().transaction == EvmTransaction.objects.earliest("id").hash
    assert node.balance(ALICE) == QUARTER


def test_fees_are_raised_up_to_the_limit_and_no_further(node, look, settings) -> None:
    node.price = 10**12
    miner(wallet_address=ALICE)
    completed()
    look()
    for _ in range(60):
        look(later_s=settings.EVM_BUMP_SEC + 5)
    fees = list(EvmTransaction.objects.values_list("most_fee", flat=True))
    assert fees == sorted(fees)
    assert max(fees) <= settings.EVM_MAX_FEE_GWEI * 10**9 < max(fees) * 1.125
    assert "EVM_MAX_FEE_GWEI" in EvmTransfer.objects.get().note
    assert told() == ("sent", 1)


def test_only_the_transfer_that_the_others_wait_for_is_replaced(node, look, settings) -> None:
    node.price = 10**12
    miner(wallet_address=ALICE)
    completed("j1")
    completed("j2")
    look()
    look(later_s=settings.EVM_BUMP_SEC + 5)
    assert [each.transactions.count() for each in EvmTransfer.objects.order_by("nonce")] == [2, 1]


def test_while_fees_are_above_the_limit_nothing_is_begun(node, look, settings) -> None:
    settings.EVM_MAX_FEE_GWEI = 0.5
    miner(wallet_address=ALICE)
    completed()
    assert look() == {"later": 1}
    assert told() == ("pending", 0)
    assert "EVM_MAX_FEE_GWEI" in event().last_error
    settings.EVM_MAX_FEE_GWEI = 100.0
    assert look(later_s=60) == {"sent": 1}


def test_a_reorganisation_takes_it_back_and_it_is_sent_again_and_paid_once(node, look, caplog) -> None:
    miner(wallet_address=ALICE)
    completed()
    look()
    before = node.tester.take_snapshot()
    node.mine(2)
    look()
    assert EvmTransfer.objects.get().block == 3
    node.tester.revert_to_snapshot(before)  # the other branch never had it, nor does the node's pool
    assert node.balance(ALICE) == 0
    assert look() == {}
    assert "in no block any more" in caplog.text
    assert EvmTransfer.objects.get().block is None
    assert told() == ("sent", 1)
    assert 1 in node.pool  # it waits again
    node.mine(3)
    assert look() == {"delivered": 1}
    assert node.balance(ALICE) == QUARTER
    assert EvmTransaction.objects.count() == 1


def test_a_reorganisation_that_mines_it_elsewhere_moves_it(node, look, caplog) -> None:
    miner(wallet_address=ALICE)
    completed()
    look()
    held, before = dict(node.pool), node.tester.take_snapshot()
    node.mine()
    look()
    assert EvmTransfer.objects.get().block == 3
    node.tester.revert_to_snapshot(before)
    node.mine(1)
    node.pool.update(held)
    node.mine(1)
    look()
    assert EvmTransfer.objects.get().block == 4
    node.mine(2)
    assert look() == {"delivered": 1}
    assert node.balance(ALICE) == QUARTER


def test_what_the_node_has_lost_is_sent_again(node, look) -> None:
    node.takes = False
    miner(wallet_address=ALICE)
    completed()
    look()
    assert node.pool == {}
    node.takes = True
    look()
    node.mine(3)
    assert look() == {"delivered": 1}
    assert node.balance(ALICE) == QUARTER


def test_a_node_that_refuses_what_is_begun_is_asked_again_and_no_second_transfer_is_begun(node, look) -> None:
    node.before = lambda method: "insufficient funds for gas" if method == "eth_sendRawTransaction" else None
    miner(wallet_address=ALICE)
    completed()
    assert look() == {"sent": 1}
    assert "insufficient funds" in EvmTransfer.objects.get().note
    node.before = lambda method: None
    look()
    node.mine(3)
    assert look() == {"delivered": 1}
    assert EvmTransfer.objects.count() == 1
    assert node.balance(ALICE) == QUARTER


def test_a_node_that_is_away_costs_attempts_and_no_nonce(node, look, settings) -> None:
    settings.EVM_RPC_URL = "http://127.0.0.1:1/v3/hidden-key"
    miner(wallet_address=ALICE)
    completed()
    assert look() == {"failed": 1}
    assert told() == ("pending", 1)
    assert event().last_error != ""
    assert "hidden-key" not in event().last_error
    assert not EvmTransfer.objects.exists()


def test_a_node_that_goes_away_after_the_transfer_was_begun_costs_nothing(node, look, settings) -> None:
    miner(wallet_address=ALICE)
    completed()
    look()
    settings.EVM_RPC_URL = "http://127.0.0.1:1/"
    assert look() == {}
    settings.EVM_RPC_URL = node.url
    node.mine(3)
    assert look() == {"delivered": 1}


def test_a_node_on_another_chain_is_refused(node, look, settings) -> None:
    settings.EVM_CHAIN_ID = 1
    miner(wallet_address=ALICE)
    completed()
    assert look() == {"failed": 1}
    assert "EVM_CHAIN_ID is 1" in event().last_error
    assert not EvmTransfer.objects.exists()


def test_a_private_node_is_refused_unless_the_operator_allows_it(node, look, settings) -> None:
    settings.OUTBOUND_ALLOW = ()
    miner(wallet_address=ALICE)
    completed()
    assert look() == {"failed": 1}
    assert "OUTBOUND_ALLOW" in event().last_error
    assert node.calls == []


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (token_code("ZERO ZERO REVERT"), "revert"),
        (token_code("ZERO ZERO MSTORE 0x20 ZERO RETURN"), "answers false"),
    ],
    ids=["reverts", "answers false"],
)
def test_a_token_that_would_not_pay_is_not_asked_to(node, look, settings, code, error) -> None:
    settings.EVM_TOKEN_ADDRESS = node.deploy(code)
    miner(wallet_address=ALICE)
    completed()
    assert look() == {"failed": 1}
    assert error in event().last_error
    assert not EvmTransfer.objects.exists()


def test_more_than_the_account_has_is_not_sent(node, look, settings) -> None:
    settings.EVM_TOKEN_DECIMALS = 30
    miner(wallet_address=ALICE)
    completed(tokens="2")
    assert look() == {"failed": 1}
    assert "revert" in event().last_error
    assert not EvmTransfer.objects.exists()


def test_an_address_without_a_contract_is_refused(node, look, settings) -> None:
    settings.EVM_TOKEN_ADDRESS = BOB
    miner(wallet_address=ALICE)
    completed()
    assert look() == {"failed": 1}
    assert "no contract" in event().last_error


def test_a_token_whose_transfer_answers_nothing_is_fine(node, look, settings) -> None:
    """As that of some large tokens does."""
    settings.EVM_TOKEN_ADDRESS = node.deploy(token_code("ZERO ZERO RETURN"))
    miner(wallet_address=ALICE)
    completed()
    look()
    node.mine(3)
    assert look() == {"delivered": 1}
    assert node.balance(ALICE) == QUARTER


def test_a_transfer_that_reverts_when_it_is_mined_is_made_anew_with_another_nonce(node, look) -> None:
    miner(wallet_address=ALICE)
    completed()
    look()
    node.freeze()
    node.mine(3)
    assert look() == {"failed": 1}
    assert told() == ("pending", 1)
    assert "nothing was paid" in event().last_error
    assert EvmTransfer.objects.get().state == TransferState.REVERTED
    node.freeze()
    assert look(later_s=10) == {"sent": 1}
    node.mine(3)
    assert look() == {"delivered": 1}
    assert [each.nonce for each in EvmTransfer.objects.order_by("id")] == [1, 2]
    assert node.balance(ALICE) == QUARTER


def test_a_token_that_tells_of_another_transfer_is_left_to_people(node, look, settings) -> None:
    settings.EVM_TOKEN_ADDRESS = node.deploy(token_code(tells="0x" + "11" * 32))
    miner(wallet_address=ALICE)
    completed()
    look()
    node.mine(3)
    assert look() == {"dead": 1}
    assert "another transfer" in event().last_error
    assert look(later_s=10**6) == {}


def test_a_nonce_that_went_elsewhere_is_left_to_people_and_replayed_with_a_new_one(node, look) -> None:
    miner(wallet_address=ALICE)
    made = completed()
    look()
    node.pool.clear()
    node.pay_elsewhere()
    assert look() == {}  # it may still come back
    node.mine(2)
    assert look() == {"dead": 1}
    assert "none of the hub's" in event().last_error
    assert EvmTransfer.objects.get().state == TransferState.LOST
    assert look(later_s=10**6) == {}
    event_replay(event_pk=made.pk)
    assert look() == {"sent": 1}
    node.mine(3)
    assert look() == {"delivered": 1}
    assert node.balance(ALICE) == QUARTER


class Killed(BaseException):
    """What a test has where a worker would be gone."""


@pytest.mark.parametrize("step", ["before the nonce", "before it is sent", "after it is sent", "before it is marked"])
def test_a_worker_killed_at_any_step_leaves_one_transfer_that_is_paid_once(
    node, look, fake_clock, monkeypatch, step
) -> None:
    def die(*args: object, **kwargs: object) -> None:
        raise Killed

    def send_then_die(chain: object, transfer: EvmTransfer) -> None:
        original(chain, transfer)
        raise Killed

    original = transfers.transfer_send
    where, what = {
        "before the nonce": ("settlement.backends.evm.backend.transfer_begin", die),
        "before it is sent": ("settlement.backends.evm.backend.transfer_send", die),
        "after it is sent": ("settlement.backends.evm.backend.transfer_send", send_then_die),
        "before it is marked": ("settlement.services.delivery._end", die),
    }[step]
    miner(wallet_address=ALICE)
    completed()
    with monkeypatch.context() as patched:
        patched.setattr(where, what)
        patched.setattr(
            "settlement.backends.evm.backend.EvmBackend.close", lambda self: self._chain.close()
        )  # it lets go of nothing
        with pytest.raises(Killed):
            look()
    assert told() == ("pending", 1)
    assert look() == {}  # its claim has not run out
    assert look(later_s=600) == {"sent": 1}
    node.mine(3)
    assert look() == {"delivered": 1}
    assert EvmTransfer.objects.count() == 1
    assert node.balance(ALICE) == QUARTER


def test_a_worker_killed_between_the_confirmation_and_the_mark_leaves_it_to_the_next(node, look, monkeypatch) -> None:
    miner(wallet_address=ALICE)
    completed()
    look()
    node.mine(3)

    def die(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(delivery, "_end", die)
        with pytest.raises(Killed):
            look()
    assert EvmTransfer.objects.get().state == TransferState.CONFIRMED
    assert told() == ("sent", 1)
    assert look() == {"delivered": 1}
    assert node.balance(ALICE) == QUARTER


def test_one_worker_at_a_time_pays_from_an_account(node, look) -> None:
    miner(wallet_address=ALICE)
    completed()
    other = evm_backend()
    assert other._mine() is not None
    assert look() == {"later": 1}
    assert "another worker" in event().last_error
    other.close()
    assert look() == {"sent": 1}
    assert EvmAccount.objects.get().claim is None  # it lets go at the end of a round


def test_nothing_is_asked_of_the_node_while_nothing_is_to_be_settled(node, look) -> None:
    assert look() == {}
    assert node.calls == []


def test_the_key_is_in_no_table(node, look) -> None:
    miner(wallet_address=ALICE)
    completed()
    look()
    kept = [*EvmTransaction.objects.values(), *EvmAccount.objects.values(), *EvmTransfer.objects.values(),
            *SettlementEvent.objects.values()]  # fmt: skip
    assert KEY[2:] not in str(kept)
    assert SettlementEvent.objects.filter(state=State.SENT).count() == 1


def test_a_reorganisation_deeper_than_the_confirmations_is_found_by_the_check(node, look) -> None:
    miner(wallet_address=ALICE)
    made = completed()
    look()
    before = node.tester.take_snapshot()
    node.mine(3)
    look()
    assert list(disagreements()) == []
    node.tester.revert_to_snapshot(before)
    (found,) = disagreements()
    assert (found.kind, found.job_id) == (Kind.GONE, "j1")
    assert event().transaction in found.detail
    assert made.public_id in found.detail


def test_the_check_says_that_the_node_is_away(node, settings) -> None:
    settings.EVM_RPC_URL = "http://127.0.0.1:1/"
    with pytest.raises(CommandError, match="cannot be asked"):
        call_command("settle", "--check")


def test_coordinators_see_the_transaction(node, look) -> None:
    miner(wallet_address=ALICE)
    completed()
    look()
    (row,) = Client().get("/v1/settlements?state=sent", headers=COORDINATOR).json()["results"]
    assert (row["state"], row["transaction"]) == ("sent", event().transaction)


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\xff", b"[]", b"{}", b"null", b"[" * 100_000, b'{"result": "x"}', b'{"result": null}', b'{"error": 1}',
     b'{"error": null, "result": [1]}', b'{"jsonrpc": "2.0", "id": 1, "result": {"hash": 5}}'],
)  # fmt: skip
def test_a_node_that_answers_garbage_is_a_failed_attempt(node, look, garbage) -> None:
    node.garbage = garbage
    miner(wallet_address=ALICE)
    completed()
    assert look() == {"failed": 1}
    assert event().last_error
    node.garbage = None
    assert look(later_s=20) == {"sent": 1}
    node.garbage = garbage
    assert look() == {}
    node.garbage = None
    node.mine(3)
    assert look() == {"delivered": 1}
    assert node.balance(ALICE) == QUARTER


def test_the_libraries_leave_the_recursion_limit_as_it_is() -> None:
    """One of them raises it so far that deep nesting, which decoders refuse by it, would crash the process."""
    asked = "import sys; before = sys.getrecursionlimit(); import settlement.backends.evm.chain; import py_ecc; print(before == sys.getrecursionlimit())"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    told = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {asked}"],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == "True"
