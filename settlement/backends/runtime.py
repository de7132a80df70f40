"""The backend that the settings name."""

import importlib

from django.conf import settings

from settlement.backends.base import Backend
from settlement.backends.webhook import WebhookBackend

EVM = "settlement.backends.evm.backend"  # imported where it is asked for alone: web3 need not be installed


def open_backend() -> Backend | None:
    """A new one, to be closed by the caller; None where settlement is not set up."""
    if settings.SETTLEMENT_BACKEND == "evm":
        opened: Backend = importlib.import_module(EVM).evm_backend()
        return opened
    if not settings.SETTLEMENT_URL:
        return None
    return WebhookBackend(
        settings.SETTLEMENT_URL,
        settings.SETTLEMENT_SECRETS,
        limit_s=settings.SETTLEMENT_TIMEOUT_SEC,
        parallel=settings.SETTLEMENT_PARALLEL,
    )
