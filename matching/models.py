from django.db import models
from django.utils import timezone

from poolhub.common.text import visible


class MatchRecord(models.Model):
    """One answered match: written behind in batches, sampled by MATCH_RECORD_SAMPLE, purged by MATCH_RECORD_DAYS."""

    job_id = models.CharField(max_length=128)
    created_at = models.DateTimeField(default=timezone.now)
    request = models.JSONField(default=dict)  # the body, without what was left out
    candidates = models.JSONField(default=list)  # as answered, best first
    # of each candidate: its price in 1e-8 tokens, exact, and whose price it is
    quotes = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))
    explain = models.TextField(blank=True, default="")
    considered = models.PositiveIntegerField(default=0)
    eligible = models.PositiveIntegerField(default=0)
    rejected = models.JSONField(default=dict)  # miners by first failed constraint
    reservation_id = models.UUIDField(null=True, blank=True)
    latency_ms = models.FloatField()

    class Meta:
        ordering = ("-id",)
        verbose_name, verbose_name_plural = "match", "job history"
        indexes = [
            models.Index(fields=["job_id"], name="match_record_job"),
            models.Index(fields=["-created_at"], name="match_record_newest"),
        ]
        constraints = [models.CheckConstraint(condition=models.Q(latency_ms__gte=0), name="match_record_latency")]

    def __str__(self) -> str:
        return f"{visible(self.job_id)} at {self.created_at:%Y-%m-%d %H:%M:%S}"


class Candidacy(models.Model):
    """A miner that a recorded match offered; matching/candidacies.py writes and purges it with the record."""

    miner_id = models.CharField(max_length=64)
    # without a constraint: both are written and purged together, and a check of each row would cost as much again
    record = models.ForeignKey(MatchRecord, models.DO_NOTHING, db_constraint=False, related_name="candidacies")
    made_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        verbose_name_plural = "candidacies"
        indexes = [models.Index(fields=["miner_id", "-made_at"], name="candidacy_of_miner")]

    def __str__(self) -> str:
        return f"{self.miner_id} in match {self.record_id}"


class StandingPart(models.Model):
    """What one process has told of one hour about the miners whose key is `shard` modulo 256: arrays, packed.

    matching/standing writes it anew while the hour lasts; rows are gone after a day.
    """

    hour = models.PositiveIntegerField()  # since the epoch
    writer = models.UUIDField()
    shard = models.PositiveSmallIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["hour", "writer", "shard"], name="standing_part_once")]
        indexes = [models.Index(fields=["shard", "hour"], name="standing_part_shard")]

    def __str__(self) -> str:
        return f"hour {self.hour}, shard {self.shard}"


class Reservation(models.Model):
    """The durable copy of one reservation, there before it is answered; matching/reservations/table.py keeps it.

    Open = ended_at is null and expires_at is ahead. What runs out by itself gets no ended_at.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    job_id = models.CharField(max_length=128)
    miner_id = models.CharField(max_length=64)
    ttl_ms = models.PositiveIntegerField()  # as asked at first
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)  # released, or ended by feedback

    class Meta:
        ordering = ("-expires_at", "id")
        indexes = [
            # ended_at is in no index, so that ending one touches the row alone; the latest to expire are few
            models.Index(fields=["expires_at"], name="reservation_expires"),
            models.Index(fields=["job_id"], name="reservation_job"),
        ]

    def __str__(self) -> str:
        return f"{visible(self.job_id)} on {self.miner_id}"
