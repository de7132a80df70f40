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


OPEN_STATUSES = (CommandStatus.PENDING, CommandStatus.SENT)  # not answered, and not too late
