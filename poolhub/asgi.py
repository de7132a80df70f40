"""HTTP and WebSockets in one application: the embedded hub serves all of it, socket processes only the sockets."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "poolhub.settings")

http = get_asgi_application()  # sets up the apps, before the consumers below are imported

from poolhub.bodylimit import LimitedASGI  # noqa: E402
from poolhub.process import Lifespan  # noqa: E402
from poolhub.routing import sockets  # noqa: E402

application = ProtocolTypeRouter({"http": LimitedASGI(http), "websocket": sockets, "lifespan": Lifespan()})
