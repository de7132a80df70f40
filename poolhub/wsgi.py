"""HTTP alone, for the REST workers of a cluster."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "poolhub.settings")

http = get_wsgi_application()

from poolhub.bodylimit import LimitedWSGI  # noqa: E402

application = LimitedWSGI(http)
