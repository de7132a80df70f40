"""Operators for tests of the admin: who is logged in, and what they see."""

from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils.html import escape


def superuser(name: str = "root") -> Client:
    return logged_in(User.objects.create_superuser(name))


def staff(*permissions: str, name: str = "staff") -> Client:
    """A member of staff with these permissions (`miners.change_miner`) alone."""
    user = User.objects.create_user(name, is_staff=True)
    for each in permissions:
        app, codename = each.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return logged_in(user)


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def messages_of(reply: Any) -> list[str]:
    """What a page says on top, the redirects followed."""
    return [str(message) for message in reply.context["messages"]]


def shows(reply: Any, text: str) -> bool:
    """Whether a page holds this text, escaped as it must be."""
    assert reply.status_code == 200, reply.content
    return escape(text) in reply.content.decode()
