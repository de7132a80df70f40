"""Who may log in: users, the roles that they have, and failed logins."""

from typing import Any, cast

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.decorators import method_decorator
from django.utils.text import Truncator
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from access.audit import change_record, shown
from access.audited import Audited, AuditedForms
from access.models import Change
from access.roles import DESCRIPTIONS, Role
from poolhub.common import clock
from poolhub.common.admin import CappedPaginator, HubAdmin, ReadOnlyAdmin, json_column, text_column

admin.site.unregister(User)
admin.site.unregister(Group)

MAX_VALUES, MAX_SUMMARY = 4, 160
SUPERUSERS_ALONE = ("is_superuser", "user_permissions")


@admin.display(description="roles")
def roles_of(user: User) -> str:
    return ", ".join(sorted(group.name for group in user.groups.all()))


@admin.register(User)
class HubUserAdmin(UserAdmin, AuditedForms):  # type: ignore[type-arg, misc]  # takes arguments in the stubs alone
    """Superusers are changed by superusers alone, and nobody else makes one."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    change_form_template = HubAdmin.change_form_template
    list_display = ("username", "email", roles_of, "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    filter_horizontal = ()
    search_help_text = "A part of the name or the address."

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None:
            return super().get_fieldsets(request, obj)
        may = ("is_active", "is_staff", "groups", *(SUPERUSERS_ALONE if _is_superuser(request) else ()))
        return [
            (None, {"fields": ("username", "password")}),
            ("Person", {"fields": ("first_name", "last_name", "email")}),
            ("May", {"fields": may}),
            ("Times", {"fields": ("last_login", "date_joined")}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        return ("last_login", "date_joined")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)


@admin.register(Group)
class HubGroupAdmin(GroupAdmin, AuditedForms):
    """The three roles are the hub's; other groups are made and changed here."""

    change_form_template = HubAdmin.change_form_template
    list_display = ("name", "described")
    search_help_text = "A part of the name."

    @admin.display(description="what it may")
    def described(self, group: Group) -> str:
        return DESCRIPTIONS[Role(group.name)] if group.name in list(Role) else ""

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_change_permission(request, obj) and not _is_role(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not _is_role(obj)


@admin.display(description="locked out", boolean=True)
def is_locked(attempt: AccessAttempt) -> bool:
    age_s = clock.now() - attempt.attempt_time.timestamp()
    return bool(attempt.failures_since_start >= settings.AXES_FAILURE_LIMIT and age_s < settings.LOGIN_LOCKOUT_SEC)


FAILED: Any = (
    text_column("username"), "ip_address", text_column("user_agent"), "failures_since_start", "attempt_time", is_locked,
)  # fmt: skip


@admin.register(AccessAttempt)
class FailedLoginAdmin(Audited, ReadOnlyAdmin):
    """Deleting one forgets it, so that its address may try again at once."""

    list_display = FAILED
    fields = readonly_fields = FAILED
    search_fields = ("username", "ip_address")
    search_help_text = "A part of the name or the address."
    ordering = ("-attempt_time",)
    paginator = CappedPaginator
    actions = ("forget",)

    def has_forget_permission(self, request: HttpRequest) -> bool:
        return cast("User", request.user).has_perm("axes.delete_accessattempt")

    @admin.action(description="Forget, and let try again", permissions=["forget"])
    @method_decorator(transaction.atomic)
    def forget(self, request: HttpRequest, queryset: QuerySet[AccessAttempt]) -> None:
        attempts = list(queryset)
        for each in attempts:
            before = {"username": each.username, "address": each.ip_address, "failures": each.failures_since_start}
            change_record(action="failed login forgotten", obj=each, before=before, after={})
        queryset.filter(pk__in=[each.pk for each in attempts]).delete()
        self.message_user(request, f"{len(attempts)} failed logins forgotten.")


@admin.display(description="what")
def summary(change: Change) -> str:
    """The values that were changed, in a line."""
    names = list(dict.fromkeys([*change.before, *change.after]))[:MAX_VALUES]
    ends = [{name: shown(value) for name, value in values.items()} for values in (change.before, change.after)]
    parts = (" → ".join(end[name] for end in ends if name in end) for name in names)
    return Truncator(", ".join(f"{name}: {part}" for name, part in zip(names, parts, strict=True))).chars(MAX_SUMMARY)


CHANGE: Any = (
    "at", "user_name", "via", "address", "request_id", "action", text_column("object_name", "object"), "model",
    "object_pk", text_column("reason"), json_column("before"), json_column("after"),
)  # fmt: skip


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdmin):
    """The log itself: read by everybody with a role, changed by nobody, superusers included."""

    list_display = (
        "at",
        "user_name",
        "action",
        text_column("object_name", "object"),
        summary,
        text_column("reason"),
        "via",
    )
    list_filter = ("via", ("at", admin.DateFieldListFilter))
    search_fields = ("object_name", "user_name")
    search_help_text = "A part of the object's name (a miner's id) or of the user's."
    ordering = ("-id",)
    sortable_by = ()
    paginator = CappedPaginator
    fields = readonly_fields = CHANGE


def _is_superuser(request: HttpRequest) -> bool:
    return bool(cast("User", request.user).is_superuser)


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    return user is None or not user.is_superuser or _is_superuser(request)


def _is_role(group: Group | None) -> bool:
    return group is not None and group.name in list(Role)
