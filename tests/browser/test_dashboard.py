"""The dashboard in a browser: it moves by itself, and says so when it cannot."""

import json

import httpx
import pytest

from tests.browser.chromium import Operator

CHARTS = ("regions", "slots", "matches", "latency", "empty", "rejections", "heartbeats", "feedback")


def text(root: Operator, tile: str) -> str:
    return root.page.inner_text(f"[data-tile={tile}]")


def becomes(root: Operator, selector: str, what: str) -> None:
    root.page.wait_for_function(
        "([selector, what]) => document.querySelector(selector)?.textContent.includes(what)", arg=[selector, what]
    )


def register(hub, name: str, **fields) -> None:
    body = {"miner_id": name, "api_key": "k" * 32, "addr": "10.0.0.1:1", "region": "dash", "max_parallel": 5, **fields}
    httpx.post(f"{hub.base}/v1/miners/register", json=body).raise_for_status()


def match(hub, number: int, **body) -> None:
    with httpx.Client(headers=hub.coordinator) as client:
        for i in range(number):
            sent = {"job_id": f"dash-{i}", "dry_run": True, **body}
            client.post(f"{hub.base}/v1/match", json=sent).raise_for_status()


def test_numbers_and_charts_move_without_reloading(root, admin_hub) -> None:
    register(admin_hub, "dash-1")
    page = root.go("/admin/")
    becomes(root, "[data-part=database]", "ok")
    page.evaluate("window.notReloaded = true")
    page.click("section:has([data-chart=regions]) summary")
    register(admin_hub, "dash-2")
    page.wait_for_selector("[data-table=regions] tr:has(th:text-is('dash')) td:nth-child(2):text-is('2')")
    match(admin_hub, 20, hints={"region": "dash"})
    match(admin_hub, 20, requirements={"min_vram_gb": 100_000})
    page.wait_for_function("document.querySelector('[data-tile=empty]').textContent.startsWith('50')")
    becomes(root, "[data-tile=p99]", "ms")
    assert float(text(root, "matches").replace(",", "")) > 0
    page.click("section:has([data-chart=empty]) summary")
    becomes(root, "[data-table=empty]", "min_vram_gb")
    assert page.evaluate("window.notReloaded")
    for name in CHARTS:
        assert page.evaluate("name => !!Chart.getChart(document.querySelector(`[data-chart=${name}]`))", name)


def test_a_reload_keeps_what_was_seen(root, admin_hub) -> None:
    page = root.go("/admin/")
    page.wait_for_function("JSON.parse(sessionStorage.getItem('poolhub-dashboard') || '[]').length >= 2")
    root.go("/admin/")
    becomes(root, "[data-sub=matches]", "over")
    assert len(json.loads(page.evaluate("sessionStorage.getItem('poolhub-dashboard')"))) >= 2


@pytest.mark.parametrize(("status", "says"), [(503, "its database may be down"), (500, "answers 500")])
def test_a_hub_that_fails_is_said_to_and_comes_back(stranger, admin_hub, status, says) -> None:
    stranger.log_in("root")
    becomes(stranger, "[data-part=database]", "ok")
    page = stranger.page
    page.route("**/dashboard.json", lambda route: route.fulfill(status=status, body="{}"))
    becomes(stranger, "#hub-alert", says)
    page.unroute("**/dashboard.json")
    page.wait_for_function("document.getElementById('hub-alert').hidden")
    stranger.faults.clear()  # the browser tells of each failed request


def test_who_is_logged_out_is_told(stranger, admin_hub) -> None:
    stranger.log_in("root")
    becomes(stranger, "[data-part=database]", "ok")
    stranger.page.context.clear_cookies()
    becomes(stranger, "#hub-alert", "no longer logged in")


def test_charts_follow_the_theme(root_with, admin_hub) -> None:
    root = root_with(dark=True)
    page = root.go("/admin/")
    becomes(root, "[data-part=database]", "ok")
    tick = "Chart.getChart(document.querySelector('[data-chart=regions]')).options.scales.x.ticks.color"
    dark = page.evaluate(tick)
    page.evaluate("document.documentElement.classList.remove('dark')")
    page.wait_for_function(f"dark => {tick} !== dark", arg=dark)


def test_quantiles_are_read_off_the_buckets_rightly(root, admin_hub) -> None:
    """The p99 of 100 matches, of which 90 took up to 1 ms and 10 from 1 to 2: 1 + (99 - 90) / 10 = 1.9 ms."""
    told = {
        "counts_of": "process 1", "regions": [], "reservations": 0,
        "parts": {"status": "ok", "database": "ok", "redis": "off", "worker": "off", "worker_seen_s": None, "lag_ms": 0},
    }  # fmt: skip
    answers = iter([
        {"at": 1000, "latency": {"1.0": 5, "2.0": 5, "+Inf": 5}, "counters": counters(5, 0), **told},
        {"at": 1010, "latency": {"1.0": 95, "2.0": 105, "+Inf": 105}, "counters": counters(80, 25), **told},
    ])  # fmt: skip
    last = {}

    def answer(route) -> None:
        last.update(next(answers, {}) or {})
        route.fulfill(status=200, json=last)

    root.page.route("**/dashboard.json", answer)
    root.page.add_init_script("sessionStorage.removeItem('poolhub-dashboard')")
    root.go("/admin/")
    becomes(root, "[data-tile=p99]", "1.9 ms")
    assert text(root, "p50") == "0.56 ms"  # 50 of the 90 below 1 ms
    assert text(root, "matches") == "600"  # 100 in 10 s
    assert text(root, "empty") == "25 %"
    assert text(root, "heartbeats") == "3"


def counters(matched: int, empty: int) -> dict[str, dict[str, int]]:
    beats = 10 if not empty else 40
    return {
        "match_requests": {"matched": matched, "empty": empty}, "heartbeats": {"ws": beats}, "feedback": {},
        "match_empty": {}, "match_rejections": {}, "commands": {},
    }  # fmt: skip
