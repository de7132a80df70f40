"""HTTP alone, for the REST workers of a cluster."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "poolhub.settings")

http = get_wsgi_application()

from poolhub import process  # noqa: E402
from poolhub.bodylimit import LimitedWSGI  # noqa: E402
from poolhub.gate import GatedWSGI  # noqa: E402

application = LimitedWSGI(GatedWSGI(http))
process.end_with_worker()


def worker() -> LimitedWSGI:
    """The application for a worker that listens only once it has it: the registry is loaded first."""
    process.begin()
    return application
