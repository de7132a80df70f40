"""The miner's page, overrides with conflicts, their import, and the history of a job, as an operator uses them."""

import re

import httpx
import pytest

from tests.browser.chromium import Operator
from tests.hub import LiveHub

MINERS, OVERRIDES = "/admin/miners/miner/", "/admin/miners/priceoverride/"
JOB = "pages job/1 & more"


@pytest.fixture(scope="module")
def populated(admin_hub: LiveHub) -> LiveHub:
    """Three miners, and a job that one of them has done."""
    for number in range(3):
        body = {
            "miner_id": f"pages-{number}", "api_key": "k" * 32, "addr": "10.0.0.1:1", "region": "pages", "max_parallel": 9,
            "price_token_per_ksec": 0.1 * (number + 1),
        }  # fmt: skip
        httpx.post(f"{admin_hub.base}/v1/miners/register", json=body).raise_for_status()
    with httpx.Client(base_url=admin_hub.base, headers=admin_hub.coordinator) as coordinator:
        asked = {"job_id": JOB, "hints": {"region": "pages"}, "top_k": 3, "reserve": True}
        first = coordinator.post("/v1/match", json=asked).raise_for_status().json()["candidates"][0]
        assert first["miner_id"] == "pages-0"
        for outcome in ("accepted", "completed"):
            told = {"job_id": JOB, "miner_id": "pages-0", "outcome": outcome, "latency_ms": 120, "tokens_spent": 1.5}
            coordinator.post("/v1/feedback", json=told).raise_for_status()
    return admin_hub


def open_miner(somebody: Operator, name: str) -> None:
    somebody.go(f"{MINERS}?q={name}")
    somebody.page.click(f"#result_list a:text-is('{name}')")
    somebody.page.wait_for_load_state()


def panel(title: str) -> str:
    return f"section[aria-label='{title}']"


def test_a_miners_page_tells_its_state_price_trust_and_matches(root, root_with, populated) -> None:
    open_miner(root, "pages-0")
    page = root.page
    page.wait_for_selector(f"{panel('Now')} >> text=online")
    assert "0.600" in page.inner_text(panel("Trust"))  # (2 + 1) / (4 + 1)
    chart = page.locator(f"{panel('Trust')} svg")
    assert chart.bounding_box()["width"] > 200
    assert chart.locator("circle.dot.completed").count() == 1
    assert "completed" in page.inner_text(panel("Recent feedback")).lower()
    for _ in range(20):  # records are written behind
        if JOB in page.inner_text(panel("Recent matches that offered it")):
            break
        page.reload()
    page.click(f"{panel('Recent matches that offered it')} >> text=Why not this miner?")
    page.wait_for_selector("#why >> text=eligible")
    narrow = root_with(dark=True, narrow=True)
    open_miner(narrow, "pages-0")
    assert narrow.page.evaluate("document.documentElement.scrollWidth") <= narrow.page.viewport_size["width"]


def test_the_line_of_the_chart_is_seen_in_light_and_dark(root_with, populated) -> None:
    colours = set()
    for dark in (False, True):
        somebody = root_with(dark=dark)
        open_miner(somebody, "pages-0")
        drawn = somebody.page.evaluate(
            "[getComputedStyle(document.querySelector('.hub-chart .line')).stroke,"
            " getComputedStyle(document.querySelector('.hub-card')).backgroundColor]"
        )
        assert drawn[0] != drawn[1]
        colours.add(tuple(drawn))
    assert len(colours) == 2


def test_an_override_that_overlaps_is_shown_with_the_other_before_it_is_set(root, populated) -> None:
    page = root.page
    open_miner(root, "pages-1")
    page.click(f"{panel('Effective price')} >> text=Set an override")
    page.fill("#id_price", "0.15")
    page.click("button[name=_save]")
    page.wait_for_url(f"**{OVERRIDES}")
    open_miner(root, "pages-1")
    assert "0.15 (override)" in page.inner_text(panel("Effective price"))
    page.click(f"{panel('Effective price')} >> text=Set an override")
    page.fill("#id_price", "0.12")
    page.fill("#id_reason", "a campaign")
    page.click("button[name=_save]")
    page.wait_for_selector("#conflicts")
    assert "0.15" in page.inner_text("#conflicts tbody")
    page.click("button[name=_save]")
    page.wait_for_url(f"**{OVERRIDES}")
    standings = page.locator("#result_list tr:has-text('pages-1')").all_inner_texts()
    assert any("0.12" in row and "behind" not in row.lower() for row in standings)
    assert any("0.15" in row and "behind a newer one" in row.lower() for row in standings)


def test_a_price_for_several_is_previewed_on_recent_matches_before_it_is_set(root, populated) -> None:
    page = root.go(f"{MINERS}?q=pages-2")
    page.locator("#result_list input.action-select:visible").first.check()
    page.select_option("select[name=action]", "set_price_override")
    page.click("button:has-text('Run')")
    page.fill("#id_price", "0.01")
    page.click("button[name=preview]")
    page.wait_for_selector("#preview")
    told = page.inner_text("#preview")
    assert re.search(r"The first candidate would change in [1-9]\d* of them", told)
    assert f"{JOB}: pages-0 → pages-2" in told
    assert page.input_value("#id_price") == "0.01"
    page.click("button[name=confirmed]")
    page.wait_for_selector("text=1 miner given a price override.")


def test_a_file_is_shown_as_a_dry_run_and_set_once_it_is_confirmed(root, root_with, populated) -> None:
    page = root.go(OVERRIDES)
    page.click("a:has-text('Import')")
    text = "miner_id,price,reason\npages-0,0.07,'=1+1\nnobody,1,\n"
    send(root, text)
    page.wait_for_selector("#faults >> text=Row 2, miner_id: There is no such miner.")
    send(root, text.replace("nobody,1,\n", ""))
    page.wait_for_selector("#rows")
    assert "=1+1" in page.inner_text("#rows tbody")
    open_miner(other := root_with(), "pages-0")
    assert "override" not in other.page.inner_text(f"{panel('Effective price')} strong")
    page.click("#confirm button:has-text('Set them')")
    page.wait_for_selector("text=1 new")
    open_miner(other, "pages-0")
    assert other.page.inner_text(f"{panel('Effective price')} strong") == "0.07 (override)"
    root.go(OVERRIDES)
    page.click("a:has-text('Export')")
    page.select_option("select[name=format]", "0")
    with page.expect_download() as download:
        page.click("button:has-text('Submit')")
    assert "pages-0,0.07,'=1+1," in download.value.path().read_text()


def send(root: Operator, text: str) -> None:
    file = {"name": "prices.csv", "mimeType": "text/csv", "buffer": text.encode()}
    root.page.set_input_files("input[type=file]", file)
    root.page.select_option("select[name=format]", "0")
    root.page.click("#upload button:has-text('Dry run')")


def test_a_job_is_found_by_its_id_and_told_from_match_to_outcome(root, root_with, populated) -> None:
    page = root.go("/admin/matching/matchrecord/")
    page.fill("#searchbar", JOB)
    page.press("#searchbar", "Enter")
    page.wait_for_selector("#job")
    told = page.inner_text("#job")
    assert [word for word in ("matched:", "accepted", "completed") if word in told] == [
        "matched:",
        "accepted",
        "completed",
    ]
    assert "120 ms, 1.5 tokens" in told
    assert page.locator(".hub-ranking tbody tr").count() == 3
    assert page.locator("#nav-sidebar-apps a.active").inner_text().strip().endswith("Job history")
    page.click("text=What would it be answered now?")
    page.wait_for_selector("#ranking")
    narrow = root_with(dark=True, narrow=True)
    narrow.go("/admin/matching/matchrecord/")
    narrow.page.click(f"#result_list a:visible:has-text('{JOB}')")
    narrow.page.wait_for_selector("#job")
    assert narrow.page.evaluate("document.documentElement.scrollWidth") <= narrow.page.viewport_size["width"]


def test_the_ranking_fits_beside_the_form_on_a_common_screen(root, populated) -> None:
    page = root.go("/admin/matching/matchrecord/playground/?body=" + '{"job_id": "j", "top_k": 10}')
    assert page.viewport_size["width"] == 1360
    assert page.locator("#ranking .hub-wide").evaluate("each => each.scrollWidth - each.clientWidth") == 0
