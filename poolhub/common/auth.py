"""Shared secrets in headers. The answer never tells which part of a credential was wrong."""

import hmac
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from poolhub.common.errors import Forbidden, NotConfigured, Unauthorized
from poolhub.common.network import allowed, request_address


def secret_matches(given: str | None, accepted: Sequence[str]) -> bool:
    """Constant time in what is compared; every accepted value is valid at once, so that secrets can be rotated."""
    if not given:
        return False
    found = False
    for secret in accepted:
        found |= hmac.compare_digest(given.encode(), secret.encode())
    return found


class SharedSecret(BasePermission):
    header: ClassVar[str]
    setting_name: ClassVar[str]
    allowlist_name: ClassVar[str | None] = None

    def has_permission(self, request: Request, view: Any) -> bool:
        check_secret(
            given=request.META.get(meta_name(self.header)),
            address=lambda: request_address(request._request),
            header=self.header,
            setting_name=self.setting_name,
            allowlist_name=self.allowlist_name,
        )
        return True


@cache
def meta_name(header: str) -> str:
    """Where Django keeps a header: the map of all headers is dear to build for one of them."""
    return f"HTTP_{header.upper().replace('-', '_')}"


def check_secret(
    *, given: str | None, address: Callable[[], str], header: str, setting_name: str, allowlist_name: str | None
) -> None:
    """Raise unless ``given`` is a value of that setting and comes from an allowed address. Sockets use it too."""
    accepted: Sequence[str] = getattr(settings, setting_name)
    if not accepted:
        raise NotConfigured(f"This route needs {setting_name}, which is not set.")
    networks = getattr(settings, allowlist_name) if allowlist_name else ()
    if networks and not allowed(address(), networks):
        raise Forbidden("This address is not on the allowlist.", code="address_not_allowed")
    if not secret_matches(given, accepted):
        raise Unauthorized(f"{header} is missing or wrong.", scheme=header)


class AdminSecret(SharedSecret):
    header = "X-Admin-Secret"
    setting_name = "ADMIN_SHARED_SECRET"
    allowlist_name = "ADMIN_ALLOWLIST"


class AdminSecretOrStaff(AdminSecret):
    """The admin secret, or a Django staff session (with its CSRF token on a method that writes).

    A view that writes names what permission staff need in `staff_needs`, by method: what somebody may not do in the
    admin they may not do here.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        needs: str | None = getattr(view, "staff_needs", {}).get(request.method)
        if self.header not in request.headers and self._is_staff(request, needs):
            return True
        return super().has_permission(request, view)

    def _is_staff(self, request: Request, needs: str | None) -> bool:
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return False
        user = request._request.user
        if not (user.is_active and user.is_staff):
            return False
        if not allowed(request_address(request._request), settings.ADMIN_ALLOWLIST):
            raise Forbidden("This address is not on the allowlist.", code="address_not_allowed")
        # Django's request: DRF's would look for the token in the body, which it cannot read and the view still wants
        SessionAuthentication().enforce_csrf(request._request)  # type: ignore[arg-type]
        if needs is not None and not user.has_perm(needs):
            raise Forbidden(f"This needs the permission {needs}.", code="permission_missing")
        return True
