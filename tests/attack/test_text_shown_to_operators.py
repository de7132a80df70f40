"""No text, whoever sent it, does anything on an operator's screen but stand there: on every page of the admin.

Every text field of every model holds what a stranger might wish for. What the hub refuses on its way in is written
past it, so that these tests speak of the pages alone, and of models and pages to come as well.
"""

import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db.models import CharField, F, JSONField, Model, TextField
from django.test import Client

from matching.records import records
from miners.models import Miner
from miners.registry.loader import miner_refresh
from tests.access.everything import one_of_each
from tests.access.test_viewers import path_of, routes
from tests.miners.builders import body, post, register
from tests.operators import superuser

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("registry"), pytest.mark.once]

HIDING = "\u202e\u2066\u200b\u2028\ufeff\x1b\x07"  # turns round, isolates, shows nothing, rings
MARKUP = '<script>alert(1)</script>"><img src=x onerror=alert(1)>{{7*7}}'
ONE = ("addr", "gpu_name", "region", "wallet_address")
LINK = re.compile(r'href="(/admin/[^"#?]*)')
NOT_OF_STRANGERS = {"sessions", "contenttypes", "auth"}
# What is no text but a key that the hub makes or checks: no other value can be there, by a constraint or by its use.
KEYS = {
    "miners.miner.miner_id", "miners.miner.api_key_hash", "miners.minerstatus.miner",
    "miners.manifest.ended_by", "settlement.settlementevent.body", "settlement.settlementevent.price_source",
    "settlement.settlementevent.price_as_of", "access.change.via",
}  # fmt: skip


def texts(model: type[Model]) -> Iterator[Any]:
    for field in model._meta.concrete_fields:
        is_text = isinstance(field, CharField | TextField | JSONField)
        if (
            is_text
            and not field.choices
            and not field.is_relation
            and f"{model._meta.label_lower}.{field.name}" not in KEYS
        ):
            yield field


def hostile(field: Any, pk: object, value: Any) -> Any:
    """In the form of what is there: a page reads JSON by its keys."""
    text = f"{HIDING}{pk}{field.name}{MARKUP}"
    if not isinstance(field, JSONField):
        return text[: field.max_length]
    return poisoned(value, text) or ([text] if field.default is list else {text: text})


def poisoned(value: Any, text: str) -> Any:
    match value:
        case str():
            return text
        case list():
            return [poisoned(each, text) for each in value]
        case dict():
            return {key: poisoned(each, text) for key, each in value.items()}
    return value


def poison() -> int:
    """Write it into every field of every row; how many fields there were."""
    count = 0
    for model in apps.get_models():
        if model._meta.app_label in NOT_OF_STRANGERS or not model._meta.managed:
            continue
        for field in texts(model):
            for pk, value in list(model._base_manager.values_list("pk", field.name)):
                model._base_manager.filter(pk=pk).update(**{field.name: hostile(field, pk, value)})
                count += 1
    return count


class Page(HTMLParser):
    """What a browser makes of a page: its elements, their attributes, the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.typed: list[str] = []  # what stands in a form to be changed
        self.text: list[str] = []
        self._in_textarea = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._in_textarea = tag == "textarea"

    def handle_endtag(self, tag: str) -> None:
        self._in_textarea = False

    def handle_data(self, data: str) -> None:
        (self.typed if self._in_textarea else self.text).append(data)


@pytest.fixture
def root(registry: Any) -> Client:
    """An operator of a hub that is full of it: in the database, the registry, and what comes of a match."""
    one_of_each()
    register("m2")
    Miner.objects.update(version=F("version") + 1)
    poison()
    for miner_id in ("m1", "m2"):
        miner_refresh(registry, miner_id)
    job = f"{HIDING}{MARKUP}"[:128]
    asked = {"job_id": job, "requirements": {"task": job}, "hints": {"explain": "full"}, "reserve": True}
    api = Client(headers={"X-Coordinator-Secret": settings.COORDINATOR_SHARED_SECRET[0]})
    found = api.post("/v1/match", asked, content_type="application/json")
    assert len(found.json()["candidates"]) == 1, found.content
    failed = {"job_id": job, "miner_id": "m2", "outcome": "failed", "fail_code": f"{HIDING}{MARKUP}"[:64]}
    assert api.post("/v1/feedback", failed, content_type="application/json").status_code == 201
    records.flush()
    poison()
    return superuser()


def crawl(client: Client, *, follow: bool = True) -> dict[str, Any]:
    """Every page of the admin: those of the site and of each model, and what they link to."""
    waiting = [path_of(*route.values) for route in routes()]
    found: dict[str, Any] = {}
    while waiting:
        path = waiting.pop()
        if path not in found and "/logout/" not in path:
            found[path] = reply = client.get(path)
            if follow and is_page(reply):
                waiting += [unescape(link) for link in LINK.findall(reply.content.decode())]
    return found


def is_page(reply: Any) -> bool:
    return reply.status_code == 200 and reply.headers["Content-Type"].startswith("text/html")


def raw(text: str) -> list[str]:
    """Where something hides in it, with what stands around."""
    return [text[max(0, at - 40) : at + 5] for at, char in enumerate(text) if char in HIDING]


def test_on_no_page_of_the_admin_does_it_run_or_hide_or_turn_round_what_stands_there(root: Client) -> None:
    replies = crawl(root)
    assert {path: reply.status_code for path, reply in replies.items() if reply.status_code >= 500} == {}
    pages = {path: Page(reply.content.decode()) for path, reply in replies.items() if is_page(reply)}
    showing = [path for path, page in pages.items() if "onerror=alert(1)" in "".join(page.text)]
    assert len(showing) > 40  # else there would be nothing to see
    for path, page in pages.items():
        assert raw("".join(page.text)) == [], path
        for tag, attributes in page.elements:
            assert not any(name.startswith("on") for name in attributes), path
            assert tag != "script" or "src" in attributes or attributes.get("type") == "application/json", path
            shown = {
                name: raw(value) for name, value in attributes.items() if name != "value"
            }  # that comes back as it is
            assert not any(shown.values()), (path, tag, shown)
            assert not attributes.get("href", "").lower().startswith(("javascript:", "data:")), path


def test_nor_does_it_in_the_numbers_of_the_dashboard(root: Client) -> None:
    reply = root.get("/admin/dashboard.json")
    assert "<script>alert(1)" in str(reply.json())  # a region's name, which the page takes for text
    assert raw(str(reply.json())) == []


def test_a_form_gives_back_what_it_was_given(root: Client) -> None:
    """Or to save it unchanged would change it."""
    miner = Miner.objects.get(miner_id="m2")
    page = Page(root.get(f"/admin/miners/miner/{miner.pk}/change/").content.decode())
    assert any(tag in typed for tag in miner.tags for typed in page.typed)


@pytest.mark.parametrize("char", HIDING[:2] + "\0\x1b\n\x85\u2028")
@pytest.mark.parametrize("name", ["addr", "gpu_name", "region", "wallet_address", "tags", "capabilities", "accel"])
def test_a_miner_s_own_texts_are_refused_with_it(client, name, char) -> None:
    text = f"a{char}b"
    reply = post(client, "/v1/miners/register", body("m9", **{name: text if name in ONE else [text]}))
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_character")
    assert not Miner.objects.filter(miner_id="m9").exists()
