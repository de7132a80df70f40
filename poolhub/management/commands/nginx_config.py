"""deploy/nginx.conf filled in for this hub, to stdout."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from poolhub import nginx, parts


class Command(BaseCommand):
    help = "Write nginx's configuration for this hub's settings (port, body limit, allowlists) to stdout."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--server-name", required=True, help="host name, such as hub.example.com")
        parser.add_argument("--certificate", required=True, help="PEM file with the certificate and its chain")
        parser.add_argument("--key", required=True, help="PEM file with its private key")
        parser.add_argument("--sockets", type=int, default=2, help="socket processes, on the ports after the REST one")
        parser.add_argument("--rest-workers", type=int, default=parts.REST_WORKERS, help="granian's --workers")
        parser.add_argument("--connections-per-address", type=int, default=4096)
        parser.add_argument("--port", type=int, default=443)
        parser.add_argument("--redirect-port", type=int, default=80)

    def handle(self, *args: Any, **options: Any) -> None:
        host = settings.POOLHUB_HOST.strip("[]")
        ports = parts.ports_from(settings.POOLHUB_PORT, options["sockets"])
        site = nginx.Site(
            rest=parts.reached(host, ports.rest),
            sockets=tuple(parts.reached(host, port) for port in ports.sockets),
            max_body_bytes=settings.MAX_BODY_BYTES,
            server_name=options["server_name"],
            certificate=nginx.Certificate(
                options["certificate"], options["key"], options["port"], options["redirect_port"]
            ),
            coordinator_allowlist=settings.COORDINATOR_ALLOWLIST,
            admin_allowlist=settings.ADMIN_ALLOWLIST,
            connections_per_address=options["connections_per_address"],
            matches_at_once=options["rest_workers"] * parts.MATCHES_AT_ONCE,
        )
        self.stdout.write(nginx.rendered(site))
