from enum import StrEnum

from django.db import models


class State(models.TextChoices):
    PENDING = "pending"  # to be delivered, now or later
    DELIVERED = "delivered"
    DEAD = "dead"  # given up, until an operator replays it


class PriceAsOf(StrEnum):
    MATCH = "match"
    FEEDBACK = "feedback"  # the match is not known any more: the price in force at the feedback
