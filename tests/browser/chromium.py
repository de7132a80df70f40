"""A real Chromium on a real hub: who is logged in, and that a page does nothing that it should not.

Playwright runs an event loop in the thread of the tests, where Django then refuses its ORM: so a browser lives as long
as one module of tests, and what the database needs is done by `manage.py` in the hub's own environment.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, StorageState, sync_playwright

from tests.hub import ROOT, LiveHub

EXECUTABLE = "/usr/bin/chromium"  # Debian's
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PASSWORD = "correct horse battery staple"
WIDE, NARROW = {"width": 1360, "height": 850}, {"width": 400, "height": 800}


def manage(hub: LiveHub, *arguments: str, **env: str) -> str:
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    done = subprocess.run(
        command, env={**hub.env, **env}, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def superuser_make(hub: LiveHub, name: str) -> None:
    manage(
        hub, "createsuperuser", "--noinput", "--username", name, "--email", f"{name}@example.com",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Operator:
    """Somebody at the admin; `faults` holds what the browser has complained of since."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.base = base
        self.faults: list[str] = []
        self.page: Page = context.new_page()
        context.on("console", self._told)
        context.on("weberror", lambda error: self.faults.append(f"uncaught: {error.error}"))
        context.on("request", self._asked)

    def _told(self, message: ConsoleMessage) -> None:
        """Errors, and what the Content-Security-Policy stopped, which Chromium tells as an error too."""
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type} at {self.page.url}: {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and not request.url.startswith(self.base + "/"):
            self.faults.append(f"a request to another host: {request.url}")

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.base}{path}")
        return self.page

    def log_in(self, name: str, password: str = PASSWORD) -> None:
        page = self.go("/admin/login/")
        page.fill("#id_username", name)
        page.fill("#id_password", password)
        page.click("#login-form button[type=submit]")
        page.wait_for_load_state()

    def screenshot(self, path: Path) -> None:
        """Of what the window shows, small: 96 colours are enough for a page."""
        taken = Image.open(BytesIO(self.page.screenshot(animations="disabled", caret="hide"))).convert("RGB")
        path.parent.mkdir(parents=True, exist_ok=True)
        taken.quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)


@contextmanager
def operator(
    browser: Browser, hub: LiveHub, *, dark: bool = False, narrow: bool = False, session: StorageState | None = None
) -> Iterator[Operator]:
    """A browser of its own, with nobody logged in but by `session`. At the end it must have complained of nothing."""
    context = browser.new_context(
        storage_state=session,
        viewport=NARROW if narrow else WIDE,
        color_scheme="dark" if dark else "light",
        locale="en-GB",
        timezone_id="UTC",
    )
    context.set_default_timeout(10_000)
    try:
        made = Operator(context, hub.base)
        yield made
        assert made.faults == []
    finally:
        context.close()
