from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from access.audited import Audited
from miners.admin.forms import MinerCommandForm
from miners.admin.shared import author_of, miner_link
from miners.choices import CommandName
from miners.models import MinerCommand
from miners.services.commands import command_args, command_create
from poolhub.common.admin import KeptAdmin, json_column

ARGS = json_column("args", "arguments")


@admin.register(MinerCommand)
class MinerCommandAdmin(Audited, KeptAdmin):
    """Sent, and then kept as they were: the miner's answer alone changes one."""

    form = MinerCommandForm
    autocomplete_fields = ("miner",)
    list_display = ("name", miner_link, "status", "author", "created_at", "sent_at", "ended_at", "id")
    list_filter = ("status", "name", "created_at")
    list_select_related = ("miner", "author")
    search_fields = ("id", "miner__miner_id", "author__username")
    search_help_text = "A part of the command's id, the miner's id or the author's name."
    date_hierarchy = "created_at"
    ordering = ("-created_at", "id")

    def get_fields(self, request: HttpRequest, obj: MinerCommand | None = None) -> Any:
        if obj is None:
            return ("miner", "name", "tags", "price")
        return (
            "id", miner_link, "name", ARGS, "status", "detail",
            "author", "created_at", "expires_at", "sent_at", "ended_at",
        )  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: MinerCommand | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: MinerCommand, form: MinerCommandForm, change: bool) -> None:
        name = CommandName(obj.name)
        made = command_create(
            miner_id=obj.miner.miner_id, name=name, args=command_args(name, form.asked()), author=author_of(request)
        )
        obj.pk = made.pk
