"""The log of what operators changed. Rows are written once; nothing of the hub changes or deletes one.

It points at nothing by a foreign key: neither the removal of a miner nor that of a user touches it.
"""

from django.db import models
from django.utils import timezone


class Change(models.Model):
    at = models.DateTimeField(default=timezone.now)
    user_pk = models.BigIntegerField(null=True, blank=True)  # None: a shared secret, or the command line
    user_name = models.CharField(max_length=150, blank=True, default="")
    via = models.CharField(max_length=16)
    address = models.CharField(max_length=45, blank=True, default="")
    request_id = models.CharField(max_length=64, blank=True, default="")
    action = models.CharField(max_length=64)
    reason = models.CharField(max_length=200, blank=True, default="")
    model = models.CharField(max_length=64)  # miners.miner
    object_pk = models.CharField(max_length=64)
    object_name = models.CharField(max_length=200)
    of_model = models.CharField(max_length=64, blank=True, default="")  # what it belongs to: an override's miner
    of_pk = models.CharField(max_length=64, blank=True, default="")
    before = models.JSONField(default=dict)  # what was changed, as it was; empty for what was not there
    after = models.JSONField(default=dict)

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["model", "object_pk"], name="change_object"),
            models.Index(fields=["of_model", "of_pk"], name="change_of"),
            models.Index(fields=["user_name"], name="change_user"),
        ]

    def __str__(self) -> str:
        return f"{self.action}: {self.object_name}"
