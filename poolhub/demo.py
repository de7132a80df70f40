"""What `make run` shows: the hub, live mock miners on real sockets, and one match, until Ctrl-C."""

import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
from django.conf import settings
from django.contrib.auth.models import User

from poolhub.env import env_file

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
STEP_S = 0.1
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - recognised, not bound

JOB: dict[str, Any] = {
    "job_id": "first-match",
    "requirements": {"min_vram_gb": 16, "accel": ["cuda"]},
    "hints": {"region": "eu"},
    "top_k": 3,
}


class DemoFailed(RuntimeError):
    pass


def require_runnable() -> None:
    """DemoFailed where the settings let no mock miner register, or no match be asked for."""
    if settings.ENROLLMENT != "open":
        raise DemoFailed("the mock miners need ENROLLMENT=open")
    if not settings.COORDINATOR_SHARED_SECRET:
        raise DemoFailed("COORDINATOR_SHARED_SECRET is empty: no match can be asked for")


def port_to_use() -> int:
    """The port that the hub will have. DemoFailed where somebody has it, whom the miners would talk to instead."""
    host = "127.0.0.1" if settings.POOLHUB_HOST in EVERYWHERE else settings.POOLHUB_HOST
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, settings.POOLHUB_PORT), family=family) as found:
            return int(found.getsockname()[1])
    except OSError as error:
        raise DemoFailed(
            f"port {settings.POOLHUB_PORT} of {host} cannot be had: {os.strerror(error.errno or 0)}"
        ) from None


def superuser_ensure() -> tuple[str, str] | None:
    """The name and password of a new superuser, shown this once; None where there is one already."""
    if User.objects.filter(is_superuser=True).exists():
        return None
    name, password = "admin", secrets.token_urlsafe(12)
    if User.objects.filter(username=name).exists():
        name = f"admin-{secrets.token_hex(3)}"
    User.objects.create_superuser(name, password=password)
    return name, password


def base_url(port: int) -> str:
    host = settings.POOLHUB_HOST
    shown = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


@contextmanager
def child(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A management command in a process of its own; ended with the block, gently first.

    It has a process group of its own: Ctrl-C in a terminal reaches the whole group of the demo, and a second signal
    would end a stop that is under way.
    """
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    process = subprocess.Popen(command, text=True, process_group=0, **options)  # noqa: S603 - our own command
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_healthy(process: subprocess.Popen[str], base: str) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise DemoFailed("the hub did not start")
        try:
            if httpx.get(f"{base}/v1/health", timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(STEP_S)
    raise DemoFailed(f"the hub was not healthy within {START_LIMIT_S:.0f} s")


def wait_for_line(process: subprocess.Popen[str], line: str, show: Callable[[str], object]) -> None:
    """Hand on what the process prints until it prints this; and what comes later, so that its pipe never fills."""
    source: IO[str] | None = process.stdout
    assert source is not None, "started with a pipe"
    for told in source:
        if told.strip() == line:
            threading.Thread(target=hand_on, args=(source, show)).start()
            return
        show(told.rstrip())
    source.close()
    raise DemoFailed("the mock miners did not start")


def hand_on(source: IO[str], show: Callable[[str], object]) -> None:
    with source:
        for told in source:
            show(told.rstrip())


def match_shown(base: str) -> str:
    """One real match, its explain string, and the curl line that repeats it."""
    secret = settings.COORDINATOR_SHARED_SECRET[0]
    answer = httpx.post(f"{base}/v1/match", json=JOB, headers={"X-Coordinator-Secret": secret}, timeout=10)
    if not answer.is_success:
        raise DemoFailed(f"the match was refused: {answer.text}")
    found = answer.json()
    lines = [f"\nPOST /v1/match: {found['eligible']} of {found['considered']} miners are eligible, the best:"]
    for each in found["candidates"]:
        lines.append(f"  {each['score']:.4f}  {each['miner_id']}  {each['gpu_name']}, {each['region']}")  # noqa: PERF401
    lines += [f"explain: {found['explain']}", "\nRepeat it:", curl_line(base)]
    return "\n".join(lines)


def curl_line(base: str) -> str:
    """It reads the secret from where the hub has it, so that the line can be shown and kept."""
    body = shlex.quote(json.dumps(JOB))
    return (
        f"curl -s {base}/v1/match -H 'Content-Type: application/json' \\\n"
        f'  -H "X-Coordinator-Secret: {secret_in_shell()}" \\\n'
        f"  -d {body}"
    )


def secret_in_shell() -> str:
    file = env_file(ROOT)
    found = re.findall(r"^COORDINATOR_SHARED_SECRET=(.*)$", file.read_text() if file else "", re.MULTILINE)
    if file and [each.partition(",")[0] for each in found] == [settings.COORDINATOR_SHARED_SECRET[0]]:
        path = shlex.quote(os.path.relpath(file))
        return f"$(sed -n 's/^COORDINATOR_SHARED_SECRET=//p' {path} | cut -d, -f1)"
    return "${COORDINATOR_SHARED_SECRET%%,*}"  # it came with the environment
