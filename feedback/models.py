from django.db import models
from django.db.models import Q
from django.utils import timezone

from feedback.fields import AmountField
from feedback.trust import FINAL
from matching.reservations.holds import Outcome
from miners.models import Miner
from poolhub.common.fields import MAX_NUMBER
from poolhub.common.text import visible

OUTCOMES = [(each.value, each.value) for each in Outcome]


class Feedback(models.Model):
    """What a coordinator said of one job on one miner; never changed afterwards. Trust is the fold of these."""

    job_id = models.CharField(max_length=128)
    miner = models.ForeignKey(Miner, models.CASCADE, related_name="feedback", db_index=False)
    outcome = models.CharField(max_length=16, choices=OUTCOMES)
    latency_ms = models.FloatField(null=True, blank=True)
    fail_code = models.CharField(max_length=64, blank=True, default="")
    tokens_spent = AmountField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "feedback"
        indexes = [
            models.Index(fields=["miner", "-created_at"], name="feedback_of_miner"),
            models.Index(fields=["-created_at"], name="feedback_newest"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["job_id", "miner", "outcome"], name="feedback_once"),
            models.UniqueConstraint(
                fields=["job_id", "miner"],
                condition=Q(outcome__in=[each.value for each in FINAL]),
                name="feedback_one_final",
            ),
            models.CheckConstraint(condition=Q(outcome__in=list(Outcome)), name="feedback_outcome_known"),
            models.CheckConstraint(
                condition=Q(latency_ms__gte=0, latency_ms__lte=MAX_NUMBER), name="feedback_latency_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"{visible(self.job_id)}: {self.outcome}"
