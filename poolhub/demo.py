"""What `make run` shows: the hub, live mock miners on real sockets, and one match, until Ctrl-C."""

import json
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
from django.conf import settings
from django.contrib.auth.models import User

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
STEP_S = 0.1

JOB: dict[str, Any] = {
    "job_id": "first-match",
    "requirements": {"min_vram_gb": 16, "accel": ["cuda"]},
    "hints": {"region": "eu"},
    "top_k": 3,
}


class DemoFailed(RuntimeError):
    pass


def superuser_ensure() -> tuple[str, str] | None:
    """The name and password of a new superuser, shown this once; None where there is one already."""
    if User.objects.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    User.objects.create_superuser("admin", password=password)
    return "admin", password


def base_url() -> str:
    host = settings.POOLHUB_HOST
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104 - shown only
    return f"http://{shown}:{settings.POOLHUB_PORT}"


@contextmanager
def child(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A management command in a process of its own; ended with the block, gently first."""
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    process = subprocess.Popen(command, text=True, **options)  # noqa: S603 - our own command
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
            time.sleep(STEP_S)
    raise DemoFailed(f"the hub did not answer within {START_LIMIT_S:.0f} s")


def wait_for_line(process: subprocess.Popen[str], line: str, show: Callable[[str], object]) -> None:
    """Hand on what the process prints until it prints this."""
    source: IO[str] | None = process.stdout
    assert source is not None, "started with a pipe"
    for told in source:
        if told.strip() == line:
            return
        show(told.rstrip())
    raise DemoFailed("the mock miners did not start")


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
    """It reads the secret from .env, so that the line can be shown and kept."""
    body = shlex.quote(json.dumps(JOB))
    from_file = "$(sed -n 's/^COORDINATOR_SHARED_SECRET=//p' .env | cut -d, -f1)"
    return (
        f"curl -s {base}/v1/match -H 'Content-Type: application/json' \\\n"
        f'  -H "X-Coordinator-Secret: {from_file}" \\\n'
        f"  -d {body}"
    )
