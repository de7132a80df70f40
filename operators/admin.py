"""Who may log in: users, and the roles that they have."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from poolhub.common.admin import HubAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class HubUserAdmin(UserAdmin, HubAdmin):  # type: ignore[type-arg, misc]  # takes arguments in the stubs alone
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class HubGroupAdmin(GroupAdmin, HubAdmin):
    pass
