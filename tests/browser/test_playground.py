"""The match playground in a real browser."""

import httpx
import pytest

from tests.hub import LiveHub

PAGE = "/admin/matching/matchrecord/playground/"


@pytest.fixture(scope="module")
def populated(admin_hub: LiveHub) -> LiveHub:
    for number, vram in enumerate((8, 24, 48)):
        body = {
            "miner_id": f"play-{number}", "api_key": "k" * 32, "addr": "10.0.0.1:1", "region": "play", "gpu_vram": vram,
        }  # fmt: skip
        httpx.post(f"{admin_hub.base}/v1/miners/register", json=body).raise_for_status()
    return admin_hub


def test_a_job_built_with_the_form_is_answered_and_has_an_address_to_share(root, root_with, populated) -> None:
    page = root.go(PAGE)
    page.fill("[name='requirements.min_vram_gb']", "16")
    page.fill("[name='hints.region']", "play")
    page.fill("#id_miner_id", "play-0")
    page.click("button[value=form]")
    page.wait_for_selector("#why")
    assert page.locator("#ranking tbody tr").count() == 2
    assert page.locator("#why tbody tr").all_inner_texts() == ["min_vram_gb\t16\t8\tno"]
    assert "waiting cannot cure it" in page.inner_text("#why").lower()
    other = root_with(dark=True, narrow=True)
    other.page.goto(page.url)
    assert other.page.inner_text("#ranking tbody") == page.inner_text("#ranking tbody")
    assert other.page.evaluate("document.documentElement.scrollWidth") <= other.page.viewport_size["width"]


def test_pasted_json_is_answered_or_refused_with_its_path(root, populated) -> None:
    page = root.go(PAGE)
    page.fill("#id_body", '{"job_id": "j", "requirements": {"min_vram": 16}}')
    page.click("button[value=json]")
    page.wait_for_selector("#faults")
    assert "requirements.min_vram: There is no such field" in page.inner_text("#faults")
    page.fill(
        "#id_body", '{"job_id": "j", "top_k": 5, "requirements": {"min_vram_gb": 40}, "hints": {"region": "play"}}'
    )
    page.click("button[value=json]")
    page.wait_for_selector("#ranking")
    assert "play-2" in page.inner_text("#ranking tbody")
    page.click("#eased a >> nth=0")
    page.wait_for_selector("#ranking tbody >> text=play-1")
