"""Logins against guessing: django-axes counts failures by the client's address, and this says what follows."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from poolhub.common.network import rate_key, request_address


def login_address(request: HttpRequest) -> str | None:
    """By what failures are counted: the address past our own proxies, an IPv6 caller's /64. None for a Unix socket."""
    return rate_key(request_address(request)) or None


def locked_out(request: HttpRequest, response: HttpResponse | None, credentials: object) -> HttpResponse:
    """Back to the login page, which says so: this is read by people."""
    minutes = max(1, round(settings.LOGIN_LOCKOUT_SEC / 60))
    told = f"Too many failed logins from this address. Try again in {minutes} min."
    messages.error(request, told)
    return HttpResponseRedirect(reverse("admin:login"))
