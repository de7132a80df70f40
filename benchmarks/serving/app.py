"""The hub as its REST workers run it; under /bare the same routes without any middleware."""

from collections.abc import Callable, Iterable
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.test.utils import override_settings

from poolhub import wsgi

BARE = "/bare"


def worker() -> Callable[..., Iterable[bytes]]:
    hub = wsgi.worker()
    with override_settings(MIDDLEWARE=[]):  # read when the handler is made
        bare = WSGIHandler()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if not path.startswith(BARE):
            return hub(environ, start_response)
        environ["PATH_INFO"] = path[len(BARE) :]
        return bare(environ, start_response)

    return application
