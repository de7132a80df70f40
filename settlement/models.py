"""The outbox of settlement. Miners are named by their ids: what is owed outlives a miner that is removed."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from feedback.fields import AmountField
from miners import limits
from miners.registry.records import PriceSource
from miners.tokens import TokensField
from poolhub.common.text import visible
from settlement.choices import PriceAsOf, State, TransferState


class SettlementEvent(models.Model):
    """One completed job on one miner, to be settled once. What it says never changes; only its delivery moves on.

    Ids of one miner grow in the order of its feedback, which is the order of delivery.
    """

    uid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    job_id = models.CharField(max_length=128)
    miner_id = models.CharField(max_length=limits.MAX_MINER_ID)
    wallet_address = models.CharField(max_length=limits.MAX_WALLET, blank=True, default="")
    tokens_spent = AmountField()
    price = TokensField(null=True, blank=True)  # tokens per 1,000 s
    price_source = models.CharField(max_length=16, blank=True, default="")
    price_as_of = models.CharField(max_length=16, blank=True, default="")
    reservation_id = models.UUIDField(null=True, blank=True)
    matched_at = models.DateTimeField(null=True, blank=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField()
    body = models.TextField()  # as it is sent, byte for byte, at each attempt

    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    claim = models.UUIDField(null=True, blank=True)  # of the worker that is sending it
    claimed_until = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True, default="")
    delivered_at = models.DateTimeField(null=True, blank=True)
    transaction = models.CharField(max_length=66, blank=True, default="")  # its hash, settled on a chain

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["next_attempt_at"], name="settlement_due", condition=Q(state=State.PENDING)),
            models.Index(fields=["miner_id", "id"], name="settlement_waiting", condition=Q(state=State.PENDING)),
            models.Index(fields=["id"], name="settlement_dead", condition=Q(state=State.DEAD)),
            models.Index(fields=["id"], name="settlement_sent", condition=Q(state=State.SENT)),
            models.Index(fields=["miner_id", "-id"], name="settlement_of_miner"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["job_id", "miner_id"], name="settlement_once"),
            models.CheckConstraint(condition=Q(state__in=State.values), name="settlement_state_known"),
            models.CheckConstraint(
                condition=Q(price_source__in=["", *map(str, PriceSource)], price_as_of__in=["", *map(str, PriceAsOf)]),
                name="settlement_price_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{visible(self.job_id)} on {self.miner_id}"

    @property
    def public_id(self) -> str:
        """As receivers and coordinators see it."""
        return f"evt_{self.uid.hex}"


class SettlementReplay(models.Model):
    """A dead event that was given another round of attempts: by whom, why, and what had stopped it."""

    event = models.ForeignKey(SettlementEvent, models.CASCADE, related_name="replays")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="settlement_replays"
    )
    reason = models.CharField(max_length=200, blank=True, default="")
    attempts = models.PositiveIntegerField()  # until then
    last_error = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"replay of {self.event}"


class SettlementPause(models.Model):
    """Deliveries to one address rest since its receiver said that it is gone; resuming deletes the row."""

    target = models.CharField(max_length=500, unique=True)
    reason = models.CharField(max_length=300)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return visible(self.target)


class EvmAccount(models.Model):
    """An account on a chain that pays, with the nonces that the hub has given away."""

    chain_id = models.PositiveBigIntegerField()
    address = models.CharField(max_length=42)
    next_nonce = models.PositiveBigIntegerField(default=0)
    claim = models.UUIDField(null=True, blank=True)  # of the worker that pays from it: one at a time
    claimed_until = models.DateTimeField(null=True, blank=True)
    followed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain_id", "address"], name="evm_account_once")]

    def __str__(self) -> str:
        return f"{self.address} on chain {self.chain_id}"


class EvmTransfer(models.Model):
    """One nonce of an account, bound to one event: of all its transactions at most one is ever mined."""

    event = models.ForeignKey(SettlementEvent, models.PROTECT, related_name="transfers")
    account = models.ForeignKey(EvmAccount, models.PROTECT, related_name="transfers")
    nonce = models.PositiveBigIntegerField()
    token = models.CharField(max_length=42)
    recipient = models.CharField(max_length=42)
    units = models.CharField(max_length=78)  # a whole number of the token's smallest unit
    gas = models.PositiveBigIntegerField()
    state = models.CharField(max_length=16, choices=TransferState, default=TransferState.OPEN)
    block = models.PositiveBigIntegerField(null=True, blank=True)  # where it was mined, as last seen
    note = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=["account", "nonce"], name="evm_open", condition=Q(state=TransferState.OPEN))]
        constraints = [
            models.UniqueConstraint(fields=["account", "nonce"], name="evm_nonce_once"),
            models.UniqueConstraint(
                fields=["event"],
                name="evm_paid_once",
                condition=Q(state__in=[TransferState.OPEN, TransferState.CONFIRMED]),
            ),
            models.CheckConstraint(condition=Q(state__in=TransferState.values), name="evm_transfer_state_known"),
        ]

    def __str__(self) -> str:
        return f"nonce {self.nonce} for {self.event}"


class EvmTransaction(models.Model):
    """One signed transaction of a transfer. It is here before it is sent; a later one with higher fees replaces it."""

    transfer = models.ForeignKey(EvmTransfer, models.CASCADE, related_name="transactions")
    hash = models.CharField(max_length=66, unique=True)
    raw = models.TextField()
    most_fee = models.PositiveBigIntegerField()  # wei a unit of gas
    tip_fee = models.PositiveBigIntegerField()
    sent_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.hash
