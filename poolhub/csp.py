"""Content-Security-Policy of every answer: nothing from another host, and on most routes nothing at all.

Django 5.2 sets none of its own. Three fixed texts need no library: no page of ours has an inline script, so there are
no nonces to make.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

HEADER = "Content-Security-Policy"
NEVER = "frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
STRICT = f"default-src 'none'; form-action 'none'; {NEVER}"  # JSON, text, and files by themselves
# Swagger UI and the admin's theme put style elements into the page.
OWN_FILES = "img-src 'self' data:; font-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'"
DOCS = f"default-src 'none'; script-src 'self'; {OWN_FILES}; form-action 'none'; {NEVER}"
# The theme's Alpine.js evaluates the expressions in its attributes, hence unsafe-eval; still no inline script runs.
ADMIN = f"default-src 'none'; script-src 'self' 'unsafe-eval'; {OWN_FILES}; form-action 'self'; {NEVER}"


class ContentSecurityMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers[HEADER] = policy_of(request.path)
        return response


def policy_of(path: str) -> str:
    if path.startswith("/admin/"):
        return ADMIN
    return DOCS if path.startswith("/v1/docs") else STRICT
