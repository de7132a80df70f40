"""The admin in a real browser: it logs in, and every page comes from this hub alone, under its policy."""

import re

import httpx
import pytest

from tests.browser.chromium import Operator
from tests.hub import LiveHub


@pytest.fixture(scope="module")
def populated(admin_hub: LiveHub) -> LiveHub:
    for number in range(3):
        body = {
            "miner_id": f"base-{number}", "api_key": "k" * 32, "addr": "10.0.0.1:1", "region": "base", "gpu_name": "H100",
        }  # fmt: skip
        httpx.post(f"{admin_hub.base}/v1/miners/register", json=body).raise_for_status()
    return admin_hub


def pages_of(root: Operator) -> list[str]:
    links = root.page.locator("#nav-sidebar-apps a").evaluate_all("all => all.map(each => each.getAttribute('href'))")
    assert len(links) > 5
    return links


def test_the_login_page_lets_in_who_knows_the_password(stranger, populated) -> None:
    stranger.log_in("root", "a wrong password")
    assert "Please enter the correct" in stranger.page.inner_text("body")
    stranger.log_in("root")
    assert stranger.page.url == f"{stranger.base}/admin/"


@pytest.mark.parametrize("dark", [False, True])
def test_every_page_of_the_sidebar_works_in_light_and_dark(root_with, populated, dark) -> None:
    root = root_with(dark=dark)
    page = root.go("/admin/")
    assert page.evaluate("document.documentElement.classList.contains('dark')") is dark
    for link in pages_of(root):
        root.go(link)
        assert page.locator("#nav-sidebar-apps a.active").count() >= 1


def test_the_page_of_a_miner_and_what_asks_first_work(root, populated) -> None:
    page = root.go("/admin/miners/miner/?q=base-1")
    page.click("#result_list a:text('base-1')")
    page.wait_for_load_state()
    page.click("button:text('Disable')")
    page.wait_for_load_state()
    assert "Disable: 1 miner." in page.inner_text("#content")
    page.click("#content >> text=Back")
    page.wait_for_load_state()
    assert re.search(r"/admin/miners/miner/\d+/change/", page.url)
    page.click("button:text('Set a price override')")
    page.fill("#id_price", "0.25")
    page.click("#content .hub-card button")
    page.wait_for_load_state()
    assert "0.25 (override)" in page.inner_text("#content")


@pytest.mark.parametrize("path", ["/admin/", "/admin/miners/miner/"])
def test_a_page_does_not_scroll_sideways_on_a_narrow_screen(root_with, populated, path) -> None:
    page = root_with(narrow=True).go(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_ctrl_k_finds_pages(root, populated) -> None:
    page = root.go("/admin/")
    page.keyboard.press("Control+k")
    page.locator("#search-input-command").press_sequentially("overrides")
    page.wait_for_selector("#command-results-list >> text=Price overrides")
