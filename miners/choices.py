from django.db import models


class Proto(models.TextChoices):
    GRPC = "grpc"
    HTTP = "http"
    HTTPS = "https"
    WS = "ws"
    WSS = "wss"


class CommandName(models.TextChoices):
    UPDATE_TAGS = "update_tags"
    SET_PRICE_CAP = "set_price_cap"
    DRAIN = "drain"
    RESUME = "resume"
    REREGISTER = "reregister"


class CommandStatus(models.TextChoices):
    PENDING = "pending"
    SENT = "sent"
    ACKED = "acked"
    FAILED = "failed"
    EXPIRED = "expired"


class SubjectForm(models.TextChoices):
    """How a manifest names its miner; as miners.manifests.verify has it."""

    PLAIN = "plain", "the miner's id"
    SHA256 = "sha256", "SHA-256 of the miner's id, in hexadecimal"


class ManifestEnd(models.TextChoices):
    REPLACED = "replaced"  # by a newer one
    REVOKED = "revoked"  # by an operator


OPEN_STATUSES = (CommandStatus.PENDING, CommandStatus.SENT)  # not answered, and not too late
