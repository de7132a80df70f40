"""Transfers from their nonce to their confirmation. Whoever calls has claimed the account."""

import logging
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef

from poolhub.common import clock
from settlement.backends.base import Delivered, Ended, Failed
from settlement.backends.evm.chain import GWEI, Chain, ChainError, Fees, Mined
from settlement.choices import State, TransferState
from settlement.models import EvmAccount, EvmTransaction, EvmTransfer, SettlementEvent

logger = logging.getLogger(__name__)

BUMP = (1125, 1000)  # nodes take a replacement whose fees are higher by a tenth, some by an eighth
LOOKED_AT = 256  # open transfers, in one round
MAX_NOTE = 300
LOOK = "see what the account has paid before you replay"


class TooDear(Exception):
    """The fees that the chain asks are above EVM_MAX_FEE_GWEI."""


def transfer_begin(
    chain: Chain, account: EvmAccount, event: SettlementEvent, *, recipient: str, units: int, claim: uuid.UUID
) -> EvmTransfer:
    """A transfer with its nonce and its first transaction, committed and not sent. Raises ChainError, TooDear."""
    gas, fees = chain.gas_for(recipient, units), chain.fees()
    if fees.tip + (fees.most - fees.tip) // 2 > _most():
        raise TooDear("the fees that the chain asks are above EVM_MAX_FEE_GWEI")
    fees = Fees(min(fees.most, _most()), fees.tip)
    used = chain.nonces_used()
    with transaction.atomic():
        held = EvmAccount.objects.select_for_update().get(pk=account.pk)
        if held.claim != claim:
            raise ChainError("another worker has taken the account over")
        nonce = max(held.next_nonce, used)  # the account may have paid elsewhere, or the database be a restored one
        EvmAccount.objects.filter(pk=held.pk).update(next_nonce=nonce + 1)
        transfer = EvmTransfer.objects.create(
            event=event, account=held, nonce=nonce, token=chain.token, recipient=recipient, units=str(units), gas=gas,
            created_at=_now(),
        )  # fmt: skip
        _signed(chain, transfer, fees)
    return transfer


def transfer_send(chain: Chain, transfer: EvmTransfer) -> str:
    """Send its newest transaction, again where it was sent before; its hash. A node that refuses is noted: the transfer
    is begun, and following it tries on."""
    newest = transfer.transactions.latest("id")
    try:
        chain.send(newest.raw)
        note = ""
    except ChainError as error:
        note = str(error)[:MAX_NOTE]
        logger.warning("transaction %s was not taken: %s", newest.hash, note)
    EvmTransfer.objects.filter(pk=transfer.pk).update(note=note)
    return newest.hash


class Following:
    """One look at all transfers of an account that are not confirmed, the lowest nonce first."""

    def __init__(self, chain: Chain, account: EvmAccount) -> None:
        self._chain = chain
        self._account = account
        self._head = chain.head()
        self._deep = self._head - settings.EVM_CONFIRMATIONS + 1  # what is in this block, or before, is confirmed

    def round(self) -> list[Ended]:
        ended = list(self._untold())
        first = True  # of those that are not mined: all others wait for it
        open_ = self._account.transfers.filter(state=TransferState.OPEN).order_by("nonce")
        for transfer in open_.select_related("event").prefetch_related("transactions")[:LOOKED_AT]:
            try:
                found = self._found(transfer)
                if found is not None:
                    ended += self._mined(transfer, *found)
                else:
                    ended += self._unmined(transfer, first=first)
                    first = False
            except ChainError as error:
                EvmTransfer.objects.filter(pk=transfer.pk).update(note=str(error)[:MAX_NOTE])
        return ended

    def _found(self, transfer: EvmTransfer) -> tuple[str, Mined] | None:
        """Which of its transactions is mined, and how."""
        for each in reversed(transfer.transactions.all()):
            mined = self._chain.mined(each.hash, to=transfer.recipient, units=int(transfer.units))
            if mined is not None:
                return each.hash, mined
        return None

    def _mined(self, transfer: EvmTransfer, hash_: str, mined: Mined) -> Iterator[Ended]:
        block, note = mined.block, ""
        if block > self._deep:
            if transfer.block is not None and transfer.block != block:
                logger.warning("transaction %s has moved from block %d to %d", hash_, transfer.block, block)
            EvmTransfer.objects.filter(pk=transfer.pk).update(block=block, note=note)
            return
        state = TransferState.CONFIRMED
        if mined.reverted:
            state, note = TransferState.REVERTED, f"{hash_} was mined and reverted: nothing was paid"
        elif not mined.paid:
            state, note = TransferState.ODD, f"{hash_} was mined, but the token tells of another transfer: {LOOK}"
        if self._end(transfer, state, block=block, note=note):
            yield _ended(transfer, state, hash_, note)

    def _unmined(self, transfer: EvmTransfer, *, first: bool) -> Iterator[Ended]:
        newest = max(transfer.transactions.all(), key=lambda each: each.pk)
        if transfer.block is not None:
            logger.warning("transaction %s is in no block any more: it is sent again", newest.hash)
            EvmTransfer.objects.filter(pk=transfer.pk).update(block=None)
        if self._deep >= 0 and self._chain.nonces_used(self._deep) > transfer.nonce:
            note = f"nonce {transfer.nonce} went to a transaction that is none of the hub's: {LOOK}"
            # asked once more: it may have been mined between the two questions
            if self._found(transfer) is None and self._end(transfer, TransferState.LOST, note=note):
                yield _ended(transfer, TransferState.LOST, newest.hash, note)
            return
        if (
            first
            and newest.sent_at + timedelta(seconds=settings.EVM_BUMP_SEC) <= _now()
            and self._bumped(transfer, newest)
        ):
            return
        if not self._chain.knows(newest.hash):
            transfer_send(self._chain, transfer)

    def _bumped(self, transfer: EvmTransfer, newest: EvmTransaction) -> bool:
        """Replace a transaction that nobody mines by one with higher fees and the same nonce; False at the highest."""
        asked, (more, than) = self._chain.fees(), BUMP
        least = Fees(-(-newest.most_fee * more // than), -(-newest.tip_fee * more // than))
        if least.most > _most():
            note = f"not mined since {newest.sent_at:%Y-%m-%d %H:%M:%S}, at EVM_MAX_FEE_GWEI"
            EvmTransfer.objects.filter(pk=transfer.pk).update(note=note)
            return False
        most = min(max(least.most, asked.most), _most())
        fees = Fees(most, min(max(least.tip, asked.tip), most))
        with transaction.atomic():
            made = _signed(self._chain, transfer, fees)
            SettlementEvent.objects.filter(pk=transfer.event_id).update(transaction=made.hash)
        logger.warning("transaction %s is not mined: %s takes its place", newest.hash, made.hash)
        transfer_send(self._chain, transfer)
        return True

    def _end(self, transfer: EvmTransfer, state: TransferState, *, block: int | None = None, note: str = "") -> bool:
        """False where another worker has ended it already."""
        mine = EvmTransfer.objects.filter(pk=transfer.pk, state=TransferState.OPEN)
        return bool(mine.update(state=state, block=block, ended_at=_now(), note=note))

    def _untold(self) -> Iterator[Ended]:
        """Events that a worker which was killed has not told how their transfer ended."""
        open_ = EvmTransfer.objects.filter(event=OuterRef("pk"), state=TransferState.OPEN)
        for event in SettlementEvent.objects.filter(~Exists(open_), state=State.SENT)[:LOOKED_AT]:
            last = event.transfers.filter(account=self._account).first()
            if last is not None:
                yield _ended(last, TransferState(last.state), event.transaction, last.note)


def _ended(transfer: EvmTransfer, state: TransferState, hash_: str, note: str) -> Ended:
    if state == TransferState.CONFIRMED:
        return Ended(transfer.event, Delivered(), hash_)
    # only where it is sure that nothing was paid, the hub pays again by itself
    return Ended(transfer.event, Failed(note, final=state != TransferState.REVERTED), hash_)


def _signed(chain: Chain, transfer: EvmTransfer, fees: Fees) -> EvmTransaction:
    made = chain.signed(
        nonce=transfer.nonce, to=transfer.recipient, units=int(transfer.units), gas=transfer.gas, fees=fees
    )  # fmt: skip
    return EvmTransaction.objects.create(
        transfer=transfer, hash=made.hash, raw=made.raw, most_fee=fees.most, tip_fee=fees.tip, sent_at=_now()
    )


def _most() -> int:
    return int(settings.EVM_MAX_FEE_GWEI * GWEI)


def _now() -> datetime:
    return clock.to_datetime(clock.now())
