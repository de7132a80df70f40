"""Settlement as an ERC-20 transfer on an EVM chain, from one account.

Promises. One event is paid at most once: a transfer is bound to one nonce of the account, in the database before it is
sent, and a chain mines one transaction for a nonce; whatever is sent again or replaced by one with higher fees has the
same nonce. A worker that is killed at any point leaves a transfer that the next one takes up. An event is delivered
once its transaction is EVM_CONFIRMATIONS blocks deep; until then a reorganisation only means that it is sent again.
One worker at a time pays from an account. Transfers leave in the order of their nonces, which is that of feedback.
"""

import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.conf import settings
from django.db.models import Q

from poolhub.common import clock
from settlement.backends.base import Delivered, Ended, Failed, Later, Result, Sent
from settlement.backends.evm.amounts import BadAmount, units_of
from settlement.backends.evm.chain import Chain, ChainError, address_of
from settlement.backends.evm.transfers import Following, TooDear, transfer_begin, transfer_send
from settlement.choices import TransferState
from settlement.models import EvmAccount, EvmTransfer, SettlementEvent

CALLS = 8  # that one delivery makes of the node at most
CLAIM_S = 10.0  # an account is one worker's for so long after its last step
BUSY_S, DEAR_S, FOLLOW_S = 2.0, 30.0, 4.0
RECHECKED_DAYS = 7
MAX_WAITING = 16  # transfers that are not mined: nodes keep no more of one account


class EvmBackend:
    parallel = 1

    def __init__(self, chain: Chain, *, limit_s: float) -> None:
        self.target = f"evm:{chain.chain_id}:{chain.token}"
        self.limit_s = CALLS * limit_s
        self._chain = chain
        self._account: EvmAccount | None = None
        self._claim = uuid.uuid4()

    def deliver(self, event: SettlementEvent) -> Result:
        recipient = address_of(event.wallet_address)
        if recipient is None:
            return Failed("the miner's wallet_address is no address of the chain", final=True)
        try:
            units = units_of(event.tokens_spent, settings.EVM_TOKEN_DECIMALS)
        except BadAmount as error:
            return Failed(str(error), final=True)
        if not units:
            return Delivered()  # there is nothing to pay
        try:
            return self._pay(event, recipient, units)
        except TooDear as error:
            return Later(DEAR_S, str(error))
        except ChainError as error:
            return Failed(str(error))

    def follow(self) -> Sequence[Ended]:
        try:
            self._chain.check()
            account = self._mine()
            return Following(self._chain, account).round() if account is not None and self._time_to_follow() else []
        except ChainError:
            return []  # what is on its way is looked at next time; deliveries tell why

    def gone(self) -> Iterator[SettlementEvent]:
        """Of the last days: a reorganisation deeper than EVM_CONFIRMATIONS takes a transfer back. Raises ChainError."""
        self._chain.check()
        since = clock.to_datetime(clock.now()) - timedelta(days=RECHECKED_DAYS)
        confirmed = EvmTransfer.objects.filter(
            state=TransferState.CONFIRMED, account__chain_id=self._chain.chain_id, token=self._chain.token,
            ended_at__gte=since,
        )  # fmt: skip
        for transfer in confirmed.select_related("event").prefetch_related("transactions").order_by("id").iterator(500):
            to, units = transfer.recipient, int(transfer.units)
            found = (self._chain.mined(each.hash, to=to, units=units) for each in transfer.transactions.all())
            if not any(each is not None and each.paid for each in found):
                yield transfer.event

    def close(self) -> None:
        if self._account is not None:
            EvmAccount.objects.filter(pk=self._account.pk, claim=self._claim).update(claim=None, claimed_until=None)
        self._chain.close()

    def _pay(self, event: SettlementEvent, recipient: str, units: int) -> Result:
        account = self._mine()
        if account is None:
            return Later(BUSY_S, "another worker pays from the account")
        self._chain.check()
        begun = EvmTransfer.objects.filter(
            event=event, state__in=[TransferState.OPEN, TransferState.CONFIRMED]
        ).first()  # fmt: skip
        if begun is not None and begun.state == TransferState.CONFIRMED:
            return Delivered()
        if begun is None:
            if account.transfers.filter(state=TransferState.OPEN, block=None).count() >= MAX_WAITING:
                return Later(BUSY_S, f"{MAX_WAITING} transfers wait to be mined")
            begun = transfer_begin(self._chain, account, event, recipient=recipient, units=units, claim=self._claim)
        return Sent(transfer_send(self._chain, begun))

    def _time_to_follow(self) -> bool:
        now = clock.to_datetime(clock.now())
        long_ago = Q(followed_at=None) | Q(followed_at__lte=now - timedelta(seconds=FOLLOW_S))
        mine = EvmAccount.objects.filter(long_ago, claim=self._claim)
        return bool(mine.update(followed_at=now))

    def _mine(self) -> EvmAccount | None:
        """The account, claimed for a while; None where another worker has it."""
        if self._account is None:
            self._account, _ = EvmAccount.objects.get_or_create(
                chain_id=self._chain.chain_id, address=self._chain.account
            )
        now = clock.to_datetime(clock.now())
        free = Q(claim=None) | Q(claim=self._claim) | Q(claimed_until__lte=now)
        until = now + timedelta(seconds=CLAIM_S + self.limit_s)
        taken = EvmAccount.objects.filter(free, pk=self._account.pk).update(claim=self._claim, claimed_until=until)
        return self._account if taken else None


def evm_backend() -> EvmBackend:
    limit_s = settings.SETTLEMENT_TIMEOUT_SEC
    chain = Chain(
        settings.EVM_RPC_URL,
        chain_id=settings.EVM_CHAIN_ID,
        token=settings.EVM_TOKEN_ADDRESS,
        key=settings.EVM_PRIVATE_KEY,
        limit_s=limit_s,
    )
    return EvmBackend(chain, limit_s=limit_s)
