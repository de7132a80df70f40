"""What the database holds about miners: the truth for who exists, what they claimed and what operators decided.

Bounds are constraints of the database itself, so that no path past the services can write what the registry cannot
hold. Every durable change of a miner raises its `version` in the same UPDATE; see miners/services/rows.py.
"""

import uuid
from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from miners import limits
from miners.choices import OPEN_STATUSES, CommandName, CommandStatus, ManifestEnd, Proto, SubjectForm
from miners.manifests.claims import FIELDS
from miners.manifests.keys import ALGORITHMS
from miners.tokens import TokensField
from poolhub.common.fields import MAX_COUNT, MAX_NUMBER, MAX_PRICE

MAX_TOKENS = Decimal(MAX_PRICE)
OPEN = Q(status__in=OPEN_STATUSES)


def bounded(model: str, name: str, low: float | Decimal, high: float | Decimal) -> models.CheckConstraint:
    """NULL passes, as in SQL; NaN does not, since PostgreSQL sorts it above every number."""
    within = Q(**{f"{name}__gte": low, f"{name}__lte": high})
    return models.CheckConstraint(condition=within, name=f"{model}_{name}_bounds")


class Miner(models.Model):
    miner_id = models.CharField(max_length=limits.MAX_MINER_ID, unique=True)
    api_key_hash = models.CharField(max_length=64, blank=True, default="")  # "" = no key yet
    session = models.BigIntegerField(default=0)  # number of the live token; 0 = never had one
    version = models.BigIntegerField(default=1)

    addr = models.CharField(max_length=limits.MAX_ADDR, blank=True, default="")
    proto = models.CharField(max_length=8, choices=Proto, default=Proto.HTTP)
    gpu_name = models.CharField(max_length=limits.MAX_GPU_NAME, blank=True, default="")
    gpu_vram = models.FloatField(default=0)  # GB of one GPU
    gpu_count = models.PositiveIntegerField(default=1)
    cpu_cores = models.PositiveIntegerField(default=0)
    ram_gb = models.FloatField(default=0)
    price = TokensField(default=Decimal(0))  # tokens per 1,000 s
    price_cap = TokensField(null=True, blank=True)
    max_parallel = models.PositiveIntegerField(default=1)
    region = models.CharField(max_length=limits.MAX_REGION, blank=True, default="")
    accel = models.JSONField(default=list, blank=True)
    tags = models.JSONField(default=list, blank=True)
    capabilities = models.JSONField(default=list, blank=True)
    wallet_address = models.CharField(max_length=limits.MAX_WALLET, blank=True, default="")

    draining = models.BooleanField(default=False)  # the miner's own word
    operator_drain = models.BooleanField(default=False)
    disabled = models.BooleanField(default=False)
    logged_out = models.BooleanField(default=False)

    trust_s = models.FloatField(default=0)  # Beta counts as of trust_at
    trust_f = models.FloatField(default=0)
    trust_at = models.DateTimeField(default=timezone.now)
    latency_mean = models.FloatField(null=True, blank=True)  # ms, measured by the hub
    latency_count = models.PositiveIntegerField(default=0)

    created_at = models.DateTimeField(default=timezone.now)
    registered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("miner_id",)
        indexes = [
            models.Index(fields=["api_key_hash"], name="miner_api_key_hash"),
            models.Index(fields=["region"], name="miner_region"),
        ]
        constraints = [
            models.CheckConstraint(condition=~Q(miner_id=""), name="miner_id_not_empty"),
            models.CheckConstraint(condition=Q(proto__in=Proto.values), name="miner_proto_known"),
            models.CheckConstraint(condition=Q(version__gte=1, session__gte=0), name="miner_version_session"),
            bounded("miner", "gpu_vram", 0, MAX_COUNT),
            bounded("miner", "gpu_count", 0, MAX_COUNT),
            bounded("miner", "cpu_cores", 0, MAX_COUNT),
            bounded("miner", "ram_gb", 0, MAX_COUNT),
            bounded("miner", "price", 0, MAX_TOKENS),
            bounded("miner", "price_cap", 0, MAX_TOKENS),
            bounded("miner", "max_parallel", 1, limits.MAX_PARALLEL),
            bounded("miner", "trust_s", 0, MAX_NUMBER),
            bounded("miner", "trust_f", 0, MAX_NUMBER),
            bounded("miner", "latency_mean", 0, MAX_NUMBER),
        ]

    def __str__(self) -> str:
        return self.miner_id


class MinerStatus(models.Model):
    """What a miner last reported. Written behind, in batches: a crash loses what the next heartbeat says again."""

    miner = models.OneToOneField(Miner, models.CASCADE, primary_key=True, to_field="miner_id", related_name="status")
    last_seen = models.DateTimeField(null=True, blank=True)
    ts = models.DateTimeField(null=True, blank=True)  # the miner's own clock, where it orders messages
    queue_len = models.PositiveIntegerField(default=0)
    busy = models.BooleanField(default=False)
    jobs = models.PositiveIntegerField(default=0)
    latency_ms = models.FloatField(null=True, blank=True)
    temp_c = models.FloatField(null=True, blank=True)
    mem_free_gb = models.FloatField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "miner statuses"
        indexes = [models.Index(fields=["last_seen"], name="status_last_seen")]
        constraints = [
            bounded("status", "queue_len", 0, MAX_COUNT),
            bounded("status", "jobs", 0, MAX_COUNT),
            bounded("status", "latency_ms", 0, MAX_NUMBER),
            bounded("status", "temp_c", limits.MIN_CELSIUS, limits.MAX_CELSIUS),
            bounded("status", "mem_free_gb", 0, MAX_COUNT),
        ]

    def __str__(self) -> str:
        return str(self.miner_id)


class PriceOverride(models.Model):
    """A price that an operator sets over a miner's own for a time; of several in force the newest wins."""

    miner = models.ForeignKey(Miner, models.CASCADE, related_name="price_overrides", db_index=False)
    price = TokensField()
    reason = models.CharField(max_length=200, blank=True, default="")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="price_overrides"
    )
    valid_from = models.DateTimeField(default=timezone.now)
    valid_until = models.DateTimeField(null=True, blank=True)  # None = open
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["miner", "-id"], name="override_newest"),
            models.Index(fields=["valid_until"], name="override_ends"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gt=F("valid_from")), name="override_ends_later"
            ),
            bounded("override", "price", 0, MAX_TOKENS),
        ]

    def __str__(self) -> str:
        return f"{self.price} for {self.miner}"


class MinerCommand(models.Model):
    """An operator's command, kept until the miner has answered it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    miner = models.ForeignKey(Miner, models.CASCADE, related_name="commands")
    number = models.PositiveBigIntegerField(db_default=0, editable=False)  # counts the miner's commands
    name = models.CharField(max_length=32, choices=CommandName)
    args = models.JSONField(default=dict, blank=True)
    status = models.CharField(max_length=16, choices=CommandStatus, default=CommandStatus.PENDING)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="miner_commands"
    )
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)  # first
    ended_at = models.DateTimeField(null=True, blank=True)  # answered, or expired
    detail = models.CharField(max_length=limits.MAX_DETAIL, blank=True, db_default="")  # of the answer

    class Meta:
        ordering = ("-created_at",)
        indexes = [
            models.Index(fields=["expires_at"], name="command_expiry", condition=OPEN),
            models.Index(fields=["miner", "number"], name="command_open", condition=OPEN),
            models.Index(fields=["-created_at"], name="command_newest"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(name__in=CommandName.values), name="command_name_known"),
            models.CheckConstraint(condition=Q(status__in=CommandStatus.values), name="command_status_known"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class RoundTrip(models.Model):
    """The time between two regions, in either direction; region < other."""

    region = models.CharField(max_length=limits.MAX_REGION)
    other = models.CharField(max_length=limits.MAX_REGION)
    operator_ms = models.FloatField(null=True, blank=True)  # an operator's own value
    rtt_ms = models.FloatField(null=True, editable=False)  # what counts in a match
    miners = models.PositiveIntegerField(default=0, editable=False)  # that have measured it in the last day

    class Meta:
        ordering = ("region", "other")
        constraints = [
            models.UniqueConstraint(fields=["region", "other"], name="round_trip_pair"),
            models.CheckConstraint(condition=~Q(region=F("other")), name="round_trip_of_two"),
            bounded("round_trip", "operator_ms", 0, limits.MAX_RTT_MS),
            bounded("round_trip", "rtt_ms", 0, limits.MAX_RTT_MS),
        ]

    def __str__(self) -> str:
        return f"{self.region} \N{LEFT RIGHT ARROW} {self.other}"


class RegionProbe(models.Model):
    """What a miner measured last from its own region to another. Written behind, a sample; kept for a day."""

    miner_id = models.CharField(max_length=limits.MAX_MINER_ID)  # no key: a sample outlives its miner by a day
    region = models.CharField(max_length=limits.MAX_REGION)
    other = models.CharField(max_length=limits.MAX_REGION)
    rtt_ms = models.FloatField()
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["at"], name="region_probe_at")]
        constraints = [
            models.UniqueConstraint(fields=["miner_id", "other"], name="region_probe_of"),
            bounded("region_probe", "rtt_ms", 0, limits.MAX_RTT_MS),
        ]

    def __str__(self) -> str:
        return f"{self.miner_id}: {self.region} to {self.other}"


def all_algorithms() -> list[str]:
    return list(ALGORITHMS)


def own_names() -> dict[str, str]:
    return {name: name for name in FIELDS}


class ManifestIssuer(models.Model):
    """Somebody whose signed manifests the hub believes, and how far."""

    name = models.CharField(max_length=64, unique=True)
    issuer = models.CharField(max_length=255, unique=True)  # the tokens' iss
    audience = models.CharField(max_length=255, blank=True, default="")  # the tokens' aud; "" = they have none
    jwks = models.JSONField(default=dict, blank=True)  # public keys: pasted, or last fetched from jwks_url
    jwks_url = models.CharField(max_length=500, blank=True, default="")
    refresh_s = models.PositiveIntegerField(default=3600)
    fetch_due_at = models.DateTimeField(null=True, blank=True)  # None = at once, where there is a URL
    fetched_at = models.DateTimeField(null=True, blank=True)  # last with success
    fetch_error = models.CharField(max_length=300, blank=True, default="")  # of the last try
    algorithms = models.JSONField(default=all_algorithms)
    leeway_s = models.PositiveIntegerField(default=60)  # of the issuer's clock
    max_lifetime_s = models.PositiveIntegerField(default=7 * 86_400)
    subject_claim = models.CharField(max_length=255, default="sub")  # a path
    subject_form = models.CharField(max_length=8, choices=SubjectForm, default=SubjectForm.PLAIN)
    mapping = models.JSONField(default=own_names, blank=True)  # name of a value -> path of its claim
    required = models.JSONField(default=dict, blank=True)  # path of a claim -> value, or list of values
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(condition=~Q(name="") & ~Q(issuer=""), name="issuer_named"),
            models.CheckConstraint(condition=Q(subject_form__in=SubjectForm.values), name="issuer_form_known"),
            bounded("issuer", "refresh_s", limits.MIN_REFRESH_S, limits.MAX_REFRESH_S),
            bounded("issuer", "leeway_s", 0, limits.MAX_LEEWAY_S),
            bounded("issuer", "max_lifetime_s", 1, limits.MAX_LIFETIME_S),
        ]

    def __str__(self) -> str:
        return self.name


class Manifest(models.Model):
    """A manifest that was accepted. It outlives its miner, so that nobody can use it again under the same id."""

    miner = models.ForeignKey(Miner, models.SET_NULL, null=True, related_name="manifests", db_index=False)
    issuer = models.ForeignKey(ManifestIssuer, models.PROTECT, related_name="manifests", db_index=False)
    jti = models.CharField(max_length=255)
    token = models.TextField()
    values = models.JSONField(default=dict)
    issued_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)  # before its time
    ended_by = models.CharField(max_length=16, choices=ManifestEnd, blank=True, default="")

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["miner", "-issued_at"], name="manifest_newest"),
            models.Index(fields=["expires_at"], name="manifest_expiry"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["issuer", "jti"], name="manifest_used_once"),
            models.UniqueConstraint(fields=["miner"], condition=Q(ended_at__isnull=True), name="manifest_one_in_force"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("issued_at")), name="manifest_ends_later"),
            models.CheckConstraint(condition=Q(ended_by__in=["", *ManifestEnd.values]), name="manifest_end_known"),
        ]

    def __str__(self) -> str:
        return f"{self.jti} of {self.issuer}"
