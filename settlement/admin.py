"""The outbox as operators see it: nothing is edited; dead events are replayed, and deliveries resumed."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.timezone import localtime

from access.audited import Audited
from miners.admin.acting import act_on_each
from miners.admin.shared import author_of, tokens_text
from poolhub.common.admin import CappedPaginator, ReadOnlyAdmin, text_column
from settlement.models import EvmTransfer, SettlementEvent, SettlementPause, SettlementReplay
from settlement.services.operators import delivery_resume, event_replay


@admin.display(description="tokens", ordering="tokens_spent")
def tokens_spent(event: SettlementEvent) -> str:
    return tokens_text(event.tokens_spent)


@admin.display(description="price")
def price(event: SettlementEvent) -> str:
    """Of the match, or as it says."""
    if event.price is None:
        return "not known"
    return f"{tokens_text(event.price)} ({event.price_source}, as of the {event.price_as_of})"


@admin.display(description="event")
def public_id(event: SettlementEvent) -> str:
    return event.public_id


GWEI = 10**9
JOB, ERROR = text_column("job_id", "job"), text_column("last_error", "last error")
SHOWN: Any = (
    public_id, "state", JOB, "miner_id", text_column("wallet_address"), tokens_spent, price, "reservation_id",
    "matched_at", "accepted_at", "completed_at", "attempts", "next_attempt_at", ERROR, "delivered_at", "transaction",
    text_column("body"),
)  # fmt: skip

REPLAY: Any = ("event", "author", text_column("reason"), "attempts", ERROR, "created_at")
PAUSE: Any = (text_column("target"), text_column("reason"), "created_at")


@admin.register(SettlementEvent)
class SettlementEventAdmin(ReadOnlyAdmin, Audited):
    """Never sorted or counted over all of it: the table grows with every job that is settled."""

    actions = ("replay",)
    list_display = (JOB, "miner_id", "state", tokens_spent, "attempts", "next_attempt_at", ERROR, "completed_at")
    list_filter = ("state", "completed_at")
    search_fields = ("job_id__exact", "miner_id__exact")
    search_help_text = "A whole job id or miner id."
    ordering = ("-id",)
    sortable_by = ()
    paginator = CappedPaginator
    fields = SHOWN
    readonly_fields = SHOWN

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Job ids may hold spaces, so the term is one."""
        found = Q(job_id=search_term) | Q(miner_id=search_term)
        return (queryset.filter(found) if search_term else queryset), False

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perm("settlement.change_settlementevent")

    @admin.action(description="Replay dead events", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[SettlementEvent]) -> None:
        author = author_of(request)
        act_on_each(
            self, request, queryset, done="replayed",
            act=lambda each: event_replay(event_pk=each.pk, author=author, reason="in the admin"),
        )  # fmt: skip


@admin.display(description="transactions, the newest last")
def transactions(transfer: EvmTransfer) -> str:
    return format_html_join(
        "", "<div>{} {}: {} gwei, {} to the miner of the block</div>",
        (
            (each.hash, f"{localtime(each.sent_at):%Y-%m-%d %H:%M:%S}", each.most_fee / GWEI, each.tip_fee / GWEI)
            for each in transfer.transactions.all()
        ),
    )  # fmt: skip


TRANSFER: Any = (
    "event", "account", "nonce", "state", "token", "recipient", "units", "block", text_column("note"), transactions,
    "created_at", "ended_at",
)  # fmt: skip


@admin.register(EvmTransfer)
class EvmTransferAdmin(ReadOnlyAdmin):
    list_display = ("event", "nonce", "state", "units", "recipient", "block", text_column("note"), "created_at")
    list_select_related = ("event",)
    list_filter = ("state",)
    search_fields = ("event__job_id__exact", "recipient__exact", "transactions__hash__exact")
    search_help_text = "A whole job id, address or transaction hash."
    ordering = ("-id",)
    sortable_by = ()
    paginator = CappedPaginator
    fields = TRANSFER
    readonly_fields = TRANSFER


@admin.register(SettlementReplay)
class SettlementReplayAdmin(ReadOnlyAdmin):
    list_display = REPLAY
    list_select_related = ("event", "author")
    list_filter = ("created_at",)
    ordering = ("-id",)
    paginator = CappedPaginator
    fields = REPLAY
    readonly_fields = REPLAY


@admin.register(SettlementPause)
class SettlementPauseAdmin(ReadOnlyAdmin, Audited):
    actions = ("resume",)
    list_display = PAUSE
    fields = PAUSE
    readonly_fields = PAUSE

    def has_resume_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perm("settlement.change_settlementpause")

    @admin.action(description="Resume deliveries", permissions=["resume"])
    def resume(self, request: HttpRequest, queryset: QuerySet[SettlementPause]) -> None:
        for pause in queryset:
            delivery_resume(pause=pause)
        self.message_user(request, "Deliveries go on.", messages.SUCCESS)
