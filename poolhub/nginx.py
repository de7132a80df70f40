"""deploy/nginx.conf, filled in."""

import os
import re
import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poolhub import parts
from poolhub.common.network import Network

TEMPLATE = Path(__file__).resolve().parent.parent / "deploy" / "nginx.conf"
VALUE = re.compile(r"@([a-z_]+)@")
TLS, PLAIN = "@tls@", "@plain@"
MAX_FILES = 65_536
MAX_BUFFERED_BODY = 1024 * 1024  # bytes; a larger one lies on the disk until it is whole


@dataclass(frozen=True, slots=True)
class Certificate:
    certificate: str  # paths of PEM files
    key: str
    port: int = 443
    redirect_port: int = 80


@dataclass(frozen=True, slots=True)
class Site:
    rest: str  # host:port
    sockets: tuple[str, ...]
    max_body_bytes: int
    server_name: str = "_"
    plain_listen: str = ""  # host:port; where there is no certificate
    certificate: Certificate | None = None
    coordinator_allowlist: Sequence[Network] = ()
    admin_allowlist: Sequence[Network] = ()
    connections_per_address: int = 4096
    matches_at_once: int = parts.REST_WORKERS * parts.MATCHES_AT_ONCE
    access_log: str = "/var/log/nginx/poolhub.log poolhub"


def rendered(site: Site) -> str:
    """The site's configuration, for nginx's http block."""
    tls = site.certificate
    values = {
        "rest": site.rest,
        "socket_servers": "\n    ".join(f"server {each} max_fails=1 fail_timeout=2s;" for each in site.sockets),
        "max_body_bytes": str(site.max_body_bytes),
        "buffered_body_bytes": str(min(site.max_body_bytes, MAX_BUFFERED_BODY)),
        "server_name": site.server_name,
        "plain_listen": site.plain_listen,
        "coordinator_allowlist": _allow(site.coordinator_allowlist),
        "admin_allowlist": _allow(site.admin_allowlist),
        "connections_per_address": str(site.connections_per_address),
        "matches_at_once": str(site.matches_at_once),
        "access_log": site.access_log,
    }
    if tls is not None:
        values |= {
            "certificate": tls.certificate,
            "certificate_key": tls.key,
            "tls_port": str(tls.port),
            "tls_port_shown": "" if tls.port == 443 else f":{tls.port}",
            "redirect_port": str(tls.redirect_port),
        }
    kept, left_out = (PLAIN, TLS) if tls is None else (TLS, PLAIN)
    lines = [line.removeprefix(kept) for line in TEMPLATE.read_text().splitlines() if not line.startswith(left_out)]
    body = "\n".join(line for line in lines if not line.startswith("#"))
    return "# Made by manage.py nginx_config; deploy/nginx.conf is its source.\n" + VALUE.sub(
        lambda found: values[found[1]], body.lstrip("\n") + "\n"
    )


def standalone(site_file: Path, folder: Path) -> str:
    """A whole configuration around a site, for an nginx of its own in the foreground, run by any user."""
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    files = open_files()
    lines = [
        *(["user root;"] if os.geteuid() == 0 else []),
        "daemon off;",
        "worker_processes 1;",
        "worker_shutdown_timeout 15s;",
        f"pid {folder}/nginx.pid;",
        "error_log stderr warn;",
        f"worker_rlimit_nofile {files};",
        f"events {{ worker_connections {files}; }}",  # each socket takes two
        "http {",
        *(f"    {each}_temp_path {folder}/nginx-{each};" for each in temporary),
        f"    include {site_file};",
        "}",
    ]
    return "\n".join(lines) + "\n"


def open_files() -> int:
    """How many nginx may have open, without more rights than whoever starts it."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MAX_FILES if most == resource.RLIM_INFINITY else min(most, MAX_FILES)


def command(main_file: Path) -> list[str]:
    return [binary() or "nginx", "-e", "stderr", "-c", str(main_file)]


def binary() -> str | None:
    """Where nginx is; Debian has it outside the path of most users."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _allow(networks: Sequence[Network]) -> str:
    if not networks:
        return "# from anywhere: its allowlist is empty"
    return " ".join([*(f"allow {network};" for network in networks), "deny all;"])
