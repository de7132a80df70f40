"""Roles, and what an operator does, in a browser."""

import httpx
import pytest

from tests.browser.chromium import Operator, manage
from tests.hub import LiveHub

MINERS = "/admin/miners/miner/"
MAKE = """
from django.contrib.auth.models import Group, User
user = User.objects.create_user("{role}", password="{password}", is_staff=True)
user.groups.add(Group.objects.get(name="{role}"))
"""


@pytest.fixture(scope="module")
def hub(admin_hub: LiveHub) -> LiveHub:
    from tests.browser.chromium import PASSWORD

    for role in ("viewer", "operator"):
        manage(admin_hub, "shell", "-c", MAKE.format(role=role, password=PASSWORD))
    return admin_hub


def registered(hub: LiveHub, name: str) -> dict[str, str]:
    body = {"miner_id": name, "api_key": "k" * 32, "addr": "10.0.0.1:1", "region": "roles"}
    answer = httpx.post(f"{hub.base}/v1/miners/register", json=body).raise_for_status().json()
    return {"Authorization": f"Bearer {answer['session_token']}"}


def heartbeat(hub: LiveHub, token: dict[str, str]) -> int:
    return httpx.post(f"{hub.base}/v1/miners/heartbeat", json={"queue_len": 0}, headers=token).status_code


def open_miner(somebody: Operator, name: str) -> None:
    somebody.go(f"{MINERS}?q={name}")
    somebody.page.click(f"#result_list a:text-is('{name}')")
    somebody.page.wait_for_load_state()


def test_a_viewer_sees_the_pool_and_has_nothing_to_press(stranger, hub) -> None:
    registered(hub, "roles-seen")
    stranger.log_in("viewer")
    menu = stranger.page.inner_text("#nav-sidebar-apps")
    assert "Miners" in menu
    assert "Users" not in menu
    open_miner(stranger, "roles-seen")
    page = stranger.page
    assert "roles-seen" in page.inner_text("#content")
    assert page.locator("#content form .hub-actions, #content .hub-actions form").count() == 0
    assert page.locator("button:text-is('Save'), a:text-is('Delete miner')").count() == 0
    assert page.goto(f"{hub.base}{MINERS}add/").status == 403
    assert page.goto(f"{hub.base}/admin/auth/user/").status == 403
    stranger.faults.clear()  # the browser tells of both


def test_an_operator_disables_a_miner_which_is_refused_at_once_and_enables_it(stranger, hub) -> None:
    token = registered(hub, "roles-acted")
    stranger.log_in("operator")
    open_miner(stranger, "roles-acted")
    page = stranger.page
    page.click(".hub-actions button:text('Disable')")
    page.wait_for_selector("text=Disable: 1 miner.")
    assert heartbeat(hub, token) == 200
    page.fill("#id_reason", "overheats")
    page.click("#content button:text('Disable')")
    page.wait_for_selector("text=1 miner disabled.")
    assert heartbeat(hub, token) in (401, 403)
    page.click("#main a:has-text('History')")
    page.wait_for_selector("td div:text-is('overheats')")
    assert "operator" in page.inner_text("#content table")
    page.click("#content a:text('Back')")
    page.click(".hub-actions button:text('Enable')")
    page.wait_for_selector("text=1 miner enabled.")
    assert heartbeat(hub, registered(hub, "roles-acted")) == 200


def test_an_operator_acts_on_the_miners_that_are_ticked(stranger, hub) -> None:
    for number in range(3):
        registered(hub, f"roles-many-{number}")
    stranger.log_in("operator")
    page = stranger.go(f"{MINERS}?q=roles-many")
    boxes = page.locator("#result_list input.action-select:visible")
    boxes.nth(0).check()
    boxes.nth(2).check()
    page.select_option("select[name=action]", "drain")
    page.click("button:has-text('Run')")
    page.wait_for_selector("text=2 miners drained.")
    states = page.locator("#result_list td.field-state").all_inner_texts()
    assert [state.strip().lower() for state in states] == ["draining", "online", "draining"]


def test_a_key_is_issued_and_shown_once(stranger, hub) -> None:
    registered(hub, "roles-key")
    stranger.log_in("operator")
    open_miner(stranger, "roles-key")
    page = stranger.page
    page.click(".hub-actions button:text('Issue a key')")
    page.wait_for_selector("text=Issue a key: 1 miner.")
    page.click("#content button:text('Issue a key')")
    key = page.inner_text("#content code")
    body = {"miner_id": "roles-key", "addr": "10.0.0.1:1"}
    old = httpx.post(f"{hub.base}/v1/miners/register", json={**body, "api_key": "k" * 32})
    new = httpx.post(f"{hub.base}/v1/miners/register", json={**body, "api_key": key})
    assert (old.status_code, new.status_code) == (401, 200)


def test_filters_of_the_list_are_applied_together(root_with, hub) -> None:
    registered(hub, "roles-filtered")
    page = root_with().go(MINERS)
    page.click("text=Filters")
    page.fill("input[name=capability]", "no such capability")
    page.click("button:has-text('Apply Filters')")
    page.wait_for_url("**capability=no*")
    assert page.locator("#result_list").count() == 0
    page.goto(f"{hub.base}{MINERS}?region=roles&price_from=0&trust_from=0.5")
    assert "roles-filtered" in page.inner_text("#result_list")


def test_whoever_guesses_passwords_is_told_to_wait(browser, tmp_path_factory) -> None:
    from tests.browser.chromium import operator, superuser_make
    from tests.hub import running_hub

    with running_hub(tmp_path_factory.mktemp("hub"), LOGIN_ATTEMPTS="2", LOGIN_LOCKOUT_SEC="600") as own:
        superuser_make(own, "root")
        with operator(browser, own) as guesser:
            for guess in ("wrong-1", "wrong-2"):
                guesser.log_in("root", guess)
            assert "Too many failed logins from this address. Try again in 10 min." in guesser.page.inner_text("body")
            guesser.log_in("root")
            assert guesser.page.url.endswith("/admin/login/")
