"""The pictures of docs/: `python -m tests.browser.screenshots FOLDER [NAME …]`, of a hub with mock miners and jobs.

A page is a name and a path, or a function that goes there. Of each there are NAME.png (light, wide), and NAME-dark.png;
those in EVERYWHERE are there as NAME-narrow.png too.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import httpx

from tests.browser.chromium import Operator, chromium, operator, superuser_make
from tests.hub import ROOT, LiveHub, running_hub

MINERS, JOBS = 150, 400

# what is live needs a while to have a past, and meanwhile jobs go on
WAIT_MS = {"admin-dashboard": 12_000}

Go = Callable[[Operator], object]


def first_miner(somebody: Operator) -> None:
    somebody.go("/admin/miners/miner/")
    somebody.page.locator("#result_list a:visible", has_text="seed-00002").first.click()
    somebody.page.wait_for_load_state()


def prepare(root: Operator) -> None:
    """The miner that was told of last gets overrides of every standing, and a command."""
    root.go("/admin/feedback/feedback/")
    path = root.page.locator("#result_list a[href*='/miners/miner/']:visible").first.get_attribute("href")
    assert path is not None
    CHOSEN["path"], CHOSEN["pk"] = path, path.split("/")[-3]
    windows = [
        ("0.22", "a campaign of the spring", -1, 40),
        ("0.3", "as agreed by telephone", 0, 2),
        ("0.18", "the night", 3, 9),
    ]
    for price, reason, start, end in windows:
        fill_override(root, price, reason, start, end)
        root.page.click("button[name=_save]")
        root.page.wait_for_load_state()
        if root.page.locator("#conflicts").count():
            root.page.click("button[name=_save]")
            root.page.wait_for_load_state()
    root.go(path)
    for button in ("Drain", "Resume"):
        root.page.click(f".hub-actions button:text-is('{button}')")
        root.page.wait_for_load_state()


CHOSEN: dict[str, str] = {}


def fill_override(root: Operator, price: str, reason: str, start: int, end: int) -> None:
    """The page that adds an override to the chosen miner; start and end in hours from now."""
    page = root.go(
        f"/admin/miners/priceoverride/add/?{urlencode({'miner': CHOSEN['pk'], 'price': price, 'reason': reason})}"
    )
    now = datetime.now(UTC)
    for name, hours in (("valid_from", start), ("valid_until", end)):
        at = now + timedelta(hours=hours)
        page.fill(f"#id_{name}_0", f"{at:%Y-%m-%d}")
        page.fill(f"#id_{name}_1", f"{at:%H:%M:%S}")


def known_miner(somebody: Operator) -> None:
    somebody.go(CHOSEN["path"])


def below(title: str) -> Go:
    """The miner's page, scrolled to one of its panels."""

    def go(somebody: Operator) -> None:
        known_miner(somebody)
        somebody.page.locator(f"section[aria-label='{title}']").evaluate("each => each.scrollIntoView()")
        somebody.page.mouse.wheel(0, -90)  # from under the bar on top

    return go


def conflict(somebody: Operator) -> None:
    fill_override(somebody, "0.25", "the summer", 1, 5)
    somebody.page.click("button[name=_save]")
    somebody.page.wait_for_selector("#conflicts")


def previewing(somebody: Operator) -> None:
    somebody.go("/admin/miners/miner/?state=online&region=eu-west")
    boxes = somebody.page.locator("#result_list input.action-select:visible")
    for number in range(3):
        boxes.nth(number).check()
    somebody.page.select_option("select[name=action]", "set_price_override")
    somebody.page.click("button:has-text('Run')")
    somebody.page.fill("#id_price", "0.12")
    somebody.page.fill("#id_reason", "a campaign in eu-west")
    somebody.page.click("button[name=preview]")
    somebody.page.wait_for_selector("#preview")
    somebody.page.locator("#preview").evaluate("each => each.scrollIntoView({block: 'end'})")


def importing(somebody: Operator) -> None:
    somebody.go(CHOSEN["path"])
    miner_id = somebody.page.locator("#content .readonly").first.inner_text()
    text = (
        "miner_id,price,reason,valid_from,valid_until\n"
        f"{miner_id},0.2,the weekend,2030-01-05T00:00:00Z,2030-01-07T00:00:00Z\n"
        f"{miner_id},0.24,the price list of 2030,,2030-01-01T00:00:00Z\n"
        "seed-00001,0.31,the price list of 2030,,\n"
    )
    somebody.go("/admin/miners/priceoverride/import/")
    file = {"name": "prices.csv", "mimeType": "text/csv", "buffer": text.encode()}
    somebody.page.set_input_files("input[type=file]", file)
    somebody.page.select_option("select[name=format]", "0")
    somebody.page.click("#upload button:has-text('Dry run')")
    somebody.page.wait_for_selector("#rows")


def job(somebody: Operator) -> None:
    """One that was reserved, done and told of."""
    somebody.go("/admin/feedback/feedback/job/?job_id=job-00014")


def disabling(somebody: Operator) -> None:
    somebody.go("/admin/miners/miner/")
    boxes = somebody.page.locator("#result_list input.action-select:visible")
    for number in range(3):
        boxes.nth(number).check()
    somebody.page.select_option("select[name=action]", "disable")
    somebody.page.click("button:has-text('Run')")
    somebody.page.wait_for_selector("#id_reason")


def history(somebody: Operator) -> None:
    """Of a miner that was drained and resumed, with a price cap in between."""
    first_miner(somebody)
    for button in ("Drain", "Resume"):
        somebody.page.click(f".hub-actions button:text-is('{button}')")
        somebody.page.wait_for_load_state()
    somebody.page.fill("#id_price_cap", "0.3")
    somebody.page.fill("#id_reason", "too dear for its region")
    somebody.page.click("button[name=_save]")
    somebody.page.wait_for_load_state()
    first_miner(somebody)
    somebody.page.fill("#id_price_cap", "")
    somebody.page.click("button[name=_save]")
    somebody.page.wait_for_load_state()
    first_miner(somebody)
    somebody.page.goto(somebody.page.url.replace("/change/", "/history/"))


def filtering(somebody: Operator) -> None:
    somebody.go("/admin/miners/miner/?state=online&region=eu-west")
    somebody.page.click("#changelist a:has-text('Filters')")


def playground(somebody: Operator) -> None:
    """A job that many miners could do, and why not a certain one."""
    body = {
        "job_id": "a-job", "top_k": 8,
        "requirements": {"min_vram_gb": 24, "accel": ["cuda"]}, "hints": {"region": "eu", "max_price": 0.8},
    }  # fmt: skip
    page = somebody.go(f"/admin/matching/matchrecord/playground/?{urlencode({'body': json.dumps(body)})}")
    first = page.locator("#ranking tbody tr:nth-child(1) a").inner_text()
    other = page.context.request.get(f"{somebody.base}/v1/miners/?limit=500").json()["results"]
    asked = next(each["miner_id"] for each in other if each["gpu_vram"] < 24 and each["miner_id"] != first)
    page.fill("#id_miner_id", asked)
    page.click("button[value=form]")
    page.wait_for_load_state()


PAGES: dict[str, str | Go] = {
    "admin-dashboard": "/admin/",
    "admin-miners": "/admin/miners/miner/",
    "admin-filters": filtering,
    "admin-miner": known_miner,
    "admin-trust": below("Trust"),
    "admin-offers": below("Recent matches that offered it"),
    "admin-overrides": "/admin/miners/priceoverride/",
    "admin-conflict": conflict,
    "admin-preview": previewing,
    "admin-import": importing,
    "admin-jobs": "/admin/matching/matchrecord/",
    "admin-job": job,
    "admin-disable": disabling,
    "admin-history": history,
    "admin-playground": playground,
    "admin-log": "/admin/access/change/",
    "admin-users": "/admin/auth/user/",
    "admin-login": "/admin/login/",
}
NARROW_TOO = (
    "admin-dashboard", "admin-miners", "admin-miner", "admin-trust", "admin-offers", "admin-conflict", "admin-preview",
    "admin-import", "admin-job", "admin-history", "admin-playground", "admin-login",
)  # fmt: skip


@contextmanager
def busy_hub(folder: Path) -> Iterator[LiveHub]:
    """A hub with live mock miners, and jobs of which most were done."""
    with running_hub(folder) as hub:
        superuser_make(hub, "root")
        command = [
            sys.executable, str(ROOT / "manage.py"), "seed_miners", "--live", "--count", str(MINERS), "--base", hub.base,
        ]  # fmt: skip
        with (folder / "miners.log").open("wb") as log:
            miners = subprocess.Popen(command, env=hub.env, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            while httpx.get(f"{hub.base}/v1/health").json()["online_miners"] < MINERS:
                time.sleep(0.2)
            work(hub)
            done = threading.Event()
            working = threading.Thread(target=work_on, args=(hub, done))
            working.start()
            try:
                yield hub
            finally:
                done.set()
                working.join()
        finally:
            miners.terminate()
            miners.wait(20)


def work_on(hub: LiveHub, done: threading.Event) -> None:
    number = JOBS
    while not done.wait(0.5):
        work(hub, number, number + 20)
        number += 20


def work(hub: LiveHub, start: int = 0, end: int = JOBS) -> None:
    wanted = [{"min_vram_gb": 16}, {"accel": ["cuda"]}, {"min_vram_gb": 500}, {"capabilities_any": ["llama-3-8b"]}, {}]
    with httpx.Client(base_url=hub.base, headers=hub.coordinator, timeout=10) as coordinator:
        for number in range(start, end):
            job = f"job-{number:05}"
            hints = {"region": "eu"} if number % 2 else {}
            body = {"job_id": job, "requirements": wanted[number % 5], "hints": hints, "top_k": 3}
            body |= {"reserve": True} if number % 7 == 0 else {}
            found = coordinator.post("/v1/match", json=body).json()["candidates"]
            if not found:
                continue
            outcome = "failed" if number % 11 == 0 else "rejected" if number % 13 == 0 else "completed"
            told = {"job_id": job, "miner_id": found[0]["miner_id"], "latency_ms": 80 + number % 70}
            coordinator.post("/v1/feedback", json={**told, "outcome": outcome, "tokens_spent": 1.5})


def take(folder: Path, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch, busy_hub(Path(scratch)) as hub, chromium() as browser:
        with operator(browser, hub) as root:
            root.log_in("root")
            prepare(root)
        for dark, narrow in ((False, False), (True, False), (False, True)):
            with operator(browser, hub, dark=dark, narrow=narrow) as root:
                if "admin-login" in names:
                    root.go("/admin/login/")
                    root.screenshot(folder / f"admin-login{_suffix(dark, narrow)}.png")
                root.log_in("root")
                for name in names:
                    if name == "admin-login":
                        continue
                    if narrow and name not in NARROW_TOO:
                        continue
                    page = PAGES[name]
                    if callable(page):
                        page(root)
                    else:
                        root.go(page)
                    root.page.wait_for_timeout(WAIT_MS.get(name, 600))
                    suffix = _suffix(dark, narrow)
                    root.screenshot(folder / f"{name}{suffix}.png")
                    print(f"{name}{suffix}.png")  # noqa: T201


def _suffix(dark: bool, narrow: bool) -> str:
    return "-dark" if dark else "-narrow" if narrow else ""


if __name__ == "__main__":
    take(Path(sys.argv[1]), sys.argv[2:] or list(PAGES))
