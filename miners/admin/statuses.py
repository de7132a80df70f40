from typing import Any

from django.contrib import admin

from miners.admin.shared import miner_link
from miners.models import MinerStatus
from poolhub.common.admin import CappedPaginator, ReadOnlyAdmin

REPORTED = ("last_seen", "queue_len", "jobs", "busy", "latency_ms", "temp_c", "mem_free_gb")
READ: Any = (miner_link, *REPORTED, "ts")


@admin.register(MinerStatus)
class MinerStatusAdmin(ReadOnlyAdmin):
    """What was last written behind; the miners' own pages show what holds now."""

    list_display = ("__str__", *REPORTED)
    list_filter = ("busy", "last_seen")
    search_fields = ("miner__miner_id",)
    search_help_text = "A part of the miner's id."
    ordering = ("miner_id",)
    paginator = CappedPaginator
    fields = READ
    readonly_fields = READ
