"""Feeds over real HTTP and from files: fetched, kept, and patient."""

import json
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from market import feeds
from market.models import MarketMedian, MarketPrice, PriceFeed
from market.services.feeds import Went, feed_remove, feed_save, feeds_sync, prices_sync
from market.services.medians import market_purge
from market.services.operators import alias_remove, alias_save
from poolhub.common.errors import Conflict, ValidationFailed
from tests import receivers
from tests.hub import ROOT
from tests.market.builders import feed, offer, sync, tell
from tests.receivers import Got, Handler

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("market")]
KEY = "a-secret-key"


def answer(*offers: object, **headers: str) -> receivers.Answer:
    return lambda handler, got: handler.say(200, json.dumps(offers).encode(), **headers)


def medians() -> dict[tuple[str, str], Decimal]:
    return {(each.model, each.region): each.median for each in MarketMedian.objects.all()}


def test_prices_of_a_server_become_the_market(site) -> None:
    site.answer = answer(offer(price=1), offer("NVIDIA GeForce RTX 4090", 3), offer("H100", 2, "us"))
    feed(source=site.url("/p"), headers={"X-Api-Key": KEY})
    assert sync().went is Went.CHANGED
    assert site.got[0].headers["x-api-key"] == KEY
    assert medians() == {("4090", "eu"): 2, ("4090", "*"): 2, ("h100", "us"): 2, ("h100", "*"): 2}
    kept = PriceFeed.objects.get()
    assert (kept.rows, kept.batch, kept.last_error, kept.failing_since) == (3, 1, "", None)


def test_what_has_not_changed_is_not_sent_again(site) -> None:
    def conditional(handler: Handler, got: Got) -> None:
        if (
            got.headers.get("if-none-match") == '"v1"'
            and got.headers.get("if-modified-since") == "Fri, 15 Jan 2027 07:00:00 GMT"
        ):
            handler.say(304)
        else:
            handler.say(200, json.dumps([offer()]).encode(), ETag='"v1"', Last_Modified="Fri, 15 Jan 2027 07:00:00 GMT")

    site.answer = conditional
    feed(source=site.url())
    assert [sync().went for _ in range(3)] == [Went.CHANGED, Went.UNCHANGED, Went.UNCHANGED]
    assert MarketPrice.objects.count() == 1


def test_the_same_content_without_a_tag_is_not_stored_again(site) -> None:
    site.answer = answer(offer())
    feed(source=site.url())
    assert [sync().went for _ in range(2)] == [Went.CHANGED, Went.UNCHANGED]
    assert MarketPrice.objects.count() == 1


def test_newer_content_takes_the_place_of_what_was(site) -> None:
    tell(offer(price=1), offer("H100", 5))
    tell(offer(price=2))
    assert medians() == {("4090", "eu"): 2, ("4090", "*"): 2}
    assert MarketPrice.objects.count() == 3


def big(handler: Handler, got: Got) -> None:
    handler.raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 20_000)


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (receivers.status(500), "the server answered 500"),
        (receivers.status(304), "the server answered 304"),
        (receivers.status(302, Location="http://127.0.0.1:1/"), "redirects are not followed"),
        (receivers.raw(b"garbage"), "RemoteProtocolError"),
        (lambda handler, got: handler.say(200, b"<html>"), "it is no JSON"),
        (lambda handler, got: handler.say(200, b"{}"), "gives no list"),
        (lambda handler, got: handler.say(200, b"[]"), "it has no rows"),
        (lambda handler, got: handler.say(200, b'[{"gpu": "x1"}]'), "no row can be used"),
        (big, "it is longer than 10000 bytes"),
    ],
    ids=["500", "304", "302", "garbage", "html", "object", "empty", "no-price", "long"],
)
def test_a_broken_feed_keeps_its_last_prices_and_says_so(site, monkeypatch, fake_clock, caplog, broken, error) -> None:
    monkeypatch.setattr(feeds, "MAX_BYTES", 10_000)
    site.answer = answer(offer(price=2))
    feed(source=site.url(), interval_s=3600)
    sync()
    PriceFeed.objects.update(etag="", last_modified="")
    site.answer = broken
    since = fake_clock.now()
    for _ in range(2):
        done = sync()
        fake_clock.advance(400)
    assert (done.went, error in done.detail) == (Went.FAILED, True), done.detail
    assert medians() == {("4090", "eu"): 2, ("4090", "*"): 2}
    assert all(each.stale for each in MarketMedian.objects.all())
    kept = PriceFeed.objects.get()
    assert kept.failing_since.timestamp() == since
    assert error in kept.last_error
    assert kept.next_at - kept.failing_since == timedelta(seconds=400 + 300)
    assert sum("its last prices stay" in each for each in caplog.messages) == 1
    site.answer = answer(offer(price=3))
    assert sync().went is Went.CHANGED
    assert PriceFeed.objects.get().failing_since is None
    assert not any(each.stale for each in MarketMedian.objects.all())


def test_an_answer_that_comes_too_late_is_a_failure(site, monkeypatch) -> None:
    monkeypatch.setattr(feeds, "LIMIT_S", 0.2)
    site.answer = lambda handler, got: site.over.wait(30)
    feed(source=site.url())
    assert sync().detail == "no answer within 0.2 s"


def test_a_private_address_is_refused_unless_it_is_allowed(site, settings) -> None:
    settings.OUTBOUND_ALLOW = ()
    feed(source=site.url())
    assert "OUTBOUND_ALLOW" in sync().detail
    assert site.got == []


def test_keys_are_in_no_log_and_no_error(site, settings, caplog) -> None:
    for answering in (receivers.status(500), receivers.raw(b"x"), lambda handler, got: handler.say(200, KEY.encode())):
        site.answer = answering
        feed(f"f{id(answering)}", source=site.url(f"/?key={KEY}"), headers={"X-Api-Key": KEY})
    feed("away", source=f"http://127.0.0.1:1/?key={KEY}", headers={"X-Api-Key": KEY})
    settings.OUTBOUND_ALLOW = ()
    feed("refused", source=site.url(f"/?key={KEY}"), headers={"X-Api-Key": KEY})
    done = feeds_sync(list(PriceFeed.objects.all()))
    assert {each.went for each in done} == {Went.FAILED}
    assert len(done) == 5
    assert KEY not in caplog.text + "".join(each.detail for each in done)


def test_bad_rows_are_noted_and_the_others_count(site) -> None:
    done = tell(offer(price=2), offer(price=-1), offer(unit="stones"))
    assert (done.went, medians()["4090", "*"]) == (Went.CHANGED, 2)
    assert "2 rows passed over" in done.detail
    assert "the unit is not known (1)" in PriceFeed.objects.get().note


def test_the_example_of_the_docs_is_read_from_a_server_and_as_a_file(site, settings) -> None:
    content = (ROOT / "docs/examples/prices.json").read_bytes()
    site.answer = lambda handler, got: handler.say(200, content)
    settings.MARKET_FEED_DIR = str(ROOT / "docs/examples")
    mapping = {"rows_path": "offers", "model_path": "gpu", "region_path": "location", "price_path": "usd_per_hour",
               "unit_path": "'usd/hour'", "as_of_path": "seen"}  # fmt: skip
    found = []
    for name, source in (("web", site.url()), ("file", "prices.json")):
        feed(name, source=source, **mapping)
        assert sync(name).detail == "6 prices"
        found.append(medians())
        feed_remove(PriceFeed.objects.get(name=name))
    assert found[0] == found[1]
    assert found[0]["4090", "eu-west"] == Decimal("0.375")
    assert {model for model, _ in found[0]} == {"4090", "a100 80gb", "h100"}
    assert medians() == {}


@pytest.mark.parametrize("source", ["../outside.json", "/etc/hostname", "nowhere.json", "sub", "a\x00b", "link.json"])
def test_no_file_beside_the_folder_is_read(tmp_path, settings, source) -> None:
    folder = tmp_path / "feeds"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside.json").write_text(json.dumps([offer()]))
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    settings.MARKET_FEED_DIR = str(folder)
    if "\x00" in source:
        with pytest.raises(feeds.BadFeed):
            feeds._read(source)
        return
    feed(source=source)
    assert sync().detail == "there is no such file below MARKET_FEED_DIR"


def test_files_are_not_read_without_a_folder(settings) -> None:
    settings.MARKET_FEED_DIR = ""
    feed(source="prices.json")
    assert sync().detail == "files are not read: MARKET_FEED_DIR is empty"


def test_a_feed_is_fetched_when_it_is_due_and_by_one_worker(site, fake_clock) -> None:
    site.answer = answer(offer())
    feed(source=site.url(), interval_s=600)
    feed("off", source=site.url("/off"), enabled=False)
    barrier = threading.Barrier(3)

    def work() -> None:
        barrier.wait()
        prices_sync()
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert [each.path for each in site.got] == ["/"]
    fake_clock.advance(599)
    assert prices_sync() == []
    fake_clock.advance(2)
    assert [each.went for each in prices_sync()] == [Went.UNCHANGED]


def test_a_mapping_that_is_changed_reads_the_same_content_anew() -> None:
    tell(offer(price=1, other=7))
    changed = PriceFeed.objects.get()
    changed.price_path = "other"
    feed_save(changed)
    assert sync().went is Went.CHANGED
    assert medians()["4090", "*"] == 7


def test_a_feed_that_is_switched_off_does_not_count() -> None:
    tell(offer(price=1))
    tell(offer(price=3), name="g")
    assert medians()["4090", "*"] == 2
    off = PriceFeed.objects.get(name="g")
    off.enabled = False
    feed_save(off)
    assert medians()["4090", "*"] == 1


def test_an_alias_corrects_a_name_at_once_and_for_what_comes() -> None:
    tell(offer("Super Card 9"), offer("4090", 3))
    alias_save(name="SUPER card 9", model="RTX 4090")
    assert medians() == {("4090", "eu"): 2, ("4090", "*"): 2}
    tell(offer("Super Card 9", 5))
    assert medians() == {("4090", "eu"): 5, ("4090", "*"): 5}


def test_an_alias_that_is_removed_is_undone_by_the_next_look() -> None:
    tell(offer("Odd Name 9"))
    alias_remove(alias_save(name="odd name 9", model="4090"))
    assert ("4090", "eu") in medians()
    sync()
    assert set(medians()) == {("odd name 9", "eu"), ("odd name 9", "*")}


@pytest.mark.parametrize(("name", "model"), [("™", "4090"), ("4090", ""), ("RTX 4090", "4090")])
def test_an_alias_that_says_nothing_is_refused(name, model) -> None:
    with pytest.raises(ValidationFailed):
        alias_save(name=name, model=model)


def test_a_name_has_one_alias() -> None:
    alias_save(name="x1", model="x2")
    with pytest.raises(Conflict):
        alias_save(name="X1", model="x3")


def test_what_no_longer_counts_is_purged_after_a_week(fake_clock) -> None:
    tell(offer(price=1))
    tell(offer(price=2))
    assert market_purge() == 0
    fake_clock.advance(8 * 86_400)
    assert market_purge() == 1
    assert medians()["4090", "*"] == 2


def test_the_command_tells_how_each_feed_went(site, capsys) -> None:
    site.answer = answer(offer())
    feed("good", source=site.url())
    feed("bad", source="nowhere.json")
    with pytest.raises(CommandError, match="a feed failed"):
        call_command("sync_prices")
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "bad: failed: there is no such file below MARKET_FEED_DIR", "good: changed: 1 prices",
    ]  # fmt: skip
    call_command("sync_prices")
    assert capsys.readouterr().out == "no feed is due\n"
    call_command("sync_prices", "good")
    assert capsys.readouterr().out == "good: unchanged: 1 prices stand\n"
    with pytest.raises(CommandError, match="there is no feed x"):
        call_command("sync_prices", "x")
