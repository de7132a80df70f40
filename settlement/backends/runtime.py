"""The backend that the settings name."""

from django.conf import settings

from settlement.backends.base import Backend
from settlement.backends.webhook import WebhookBackend


def open_backend() -> Backend | None:
    """A new one, to be closed by the caller; None where settlement is not set up."""
    if not settings.SETTLEMENT_URL:
        return None
    return WebhookBackend(
        settings.SETTLEMENT_URL,
        settings.SETTLEMENT_SECRETS,
        limit_s=settings.SETTLEMENT_TIMEOUT_SEC,
        parallel=settings.SETTLEMENT_PARALLEL,
    )
