from enum import StrEnum

from django.db import models


class State(models.TextChoices):
    PENDING = "pending"  # to be delivered, now or later
    SENT = "sent"  # on its way: a chain has not confirmed it yet
    DELIVERED = "delivered"
    DEAD = "dead"  # given up, until an operator replays it


class TransferState(models.TextChoices):
    OPEN = "open"  # signed; mined or not, but not confirmed
    CONFIRMED = "confirmed"
    REVERTED = "reverted"  # mined, and nothing was paid
    ODD = "odd"  # mined, but what it paid is not what was asked
    LOST = "lost"  # its nonce went to a transaction that is none of ours


class PriceAsOf(StrEnum):
    MATCH = "match"
    FEEDBACK = "feedback"  # the match is not known any more: the price in force at the feedback
