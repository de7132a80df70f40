"""The embedded hub's server with the benchmark's application: python -m benchmarks.sockets.server PORT."""

import sys

from daphne import server as _reactor  # noqa: F401 - the first import of Twisted's reactor chooses its event loop

from benchmarks.sockets.app import application
from miners.registry import runtime
from poolhub.server import HubServer, endpoint_of


def main(port: str) -> None:
    runtime.get_registry()
    try:
        HubServer(application, endpoint=endpoint_of("127.0.0.1", int(port)), ready=lambda _: None).run()
    finally:
        runtime.stop()


if __name__ == "__main__":
    main(sys.argv[1])
