"""Keys that issuers publish, from real servers."""

import json
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from miners.models import Manifest, ManifestIssuer
from miners.services.issuers import MAX_BYTES, RETRY_S, BadURL, issuer_save, keys_refresh, url_check
from miners.services.manifests import manifests_revoke_of
from poolhub.common import clock
from poolhub.gauges import PoolGauges
from tests.miners.builders import register, view
from tests.miners.manifests.builders import NOW, claims, jwks, key, public, signed
from tests.miners.manifests.issuing import fresh, issuer, reason_of, send
from tests.miners.test_races import at_once
from tests.receivers import Answer, Handler, Site, ok, serving, status
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("time")]


def giving(value: Any) -> Answer:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda handler, got: handler.say(200, data, Content_Type="application/jwk-set+json")


@pytest.fixture
def site(settings) -> Iterator[Site]:
    settings.OUTBOUND_ALLOW = (ip_network("127.0.0.1"),)
    with serving(giving(jwks())) as started:
        yield started


def publishing(site: Site, **fields: Any) -> ManifestIssuer:
    return issuer(**{"jwks": {}, "jwks_url": site.url("/keys"), **fields})


def at(seconds: float = 0) -> Any:
    return clock.to_datetime(NOW + seconds)


def test_keys_are_fetched_and_used(client, site) -> None:
    publishing(site)
    token = register()
    assert reason_of(send(client, token, fresh())) == "unknown_key"
    assert keys_refresh() == 1
    assert send(client, token, fresh()).status_code == 200
    kept = ManifestIssuer.objects.get()
    assert (kept.jwks, kept.fetched_at, kept.fetch_due_at, kept.fetch_error) == (jwks(), at(), at(3600), "")
    assert [(got.method, got.path) for got in site.got] == [("GET", "/keys")]


def test_keys_are_fetched_when_their_time_has_come_and_from_enabled_issuers_alone(site, time) -> None:
    publishing(site, refresh_s=600)
    publishing(site, name="off", issuer="off", enabled=False)
    issuer(name="pasted", issuer="pasted")
    assert [keys_refresh() for _ in range(3)] == [1, 0, 0]
    time.advance(599)
    assert keys_refresh() == 0
    time.advance(1)
    assert keys_refresh() == 1


def test_how_many_issuers_have_keys_that_cannot_be_fetched_is_a_gauge(site, time) -> None:
    publishing(site)
    publishing(site, name="off", issuer="off", enabled=False, fetch_error="the answer is 500")
    site.answer = status(500)
    keys_refresh()
    assert failing_issuers() == 1.0
    site.answer = giving(jwks())
    time.advance(RETRY_S)
    keys_refresh()
    assert failing_issuers() == 0.0


def failing_issuers() -> float:
    (family,) = [each for each in PoolGauges().collect() if each.name == "poolhub_issuers_failing"]
    return family.samples[0].value


def test_a_key_that_a_token_names_and_that_is_not_here_is_looked_for_soon_but_not_all_the_time(
    client, site, time
) -> None:
    publishing(site)
    keys_refresh()
    token, new = register(), key("ES256", "k2")
    site.answer = giving(jwks(new))
    manifest = signed(claims(now=NOW), by=new)
    assert reason_of(send(client, token, manifest)) == "unknown_key"
    assert keys_refresh() == 0  # it was a moment ago
    time.advance(RETRY_S + 1)
    assert reason_of(send(client, register(), manifest)) == "unknown_key"
    assert keys_refresh() == 1
    assert send(client, register(), manifest).status_code == 200


FAULTS: list[Any] = [
    (status(404), "404"), (status(500), "500"), (status(301, Location="http://127.0.0.1:1/"), "301"),
    (ok, "204"), (giving(b"{"), "not JSON"), (giving(b"[" * 100_000), "not JSON"), (giving([]), "JWK Set"),
    (giving({"keys": []}), "no key for"), (giving({"keys": [key().as_dict(private=True)]}), "only public keys"),
    (giving({"keys": [{**public(key())[0], "x": "AAAA"}]}), "broken"), (giving(b" " * MAX_BYTES + b"{}"), "bytes"),
    (lambda handler, got: handler.raw(b"what?\r\n\r\n"), "Protocol"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "told"), FAULTS)
def test_an_answer_that_is_no_set_of_public_keys_leaves_the_last_good_one(site, time, answer, told) -> None:
    publishing(site)
    keys_refresh()
    time.advance(3600)
    site.answer = answer
    assert keys_refresh() == 0
    kept = ManifestIssuer.objects.get()
    assert kept.jwks == jwks()
    assert told in kept.fetch_error
    assert (kept.fetched_at, kept.fetch_due_at) == (at(), at(3600 + RETRY_S))
    time.advance(RETRY_S)
    site.answer = giving(jwks())
    assert keys_refresh() == 1
    assert ManifestIssuer.objects.get().fetch_error == ""


def test_a_private_address_is_not_called_unless_it_is_allowed(site, settings) -> None:
    settings.OUTBOUND_ALLOW = ()
    publishing(site, jwks_url=site.url("/keys").replace("http:", "https:"))
    assert keys_refresh() == 0
    assert "OUTBOUND_ALLOW" in ManifestIssuer.objects.get().fetch_error
    assert site.got == []


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "//h/x", "ftp://h/x", "file:///etc/passwd", "http://issuer.example/x", "http://127.0.0.2/x", "http://10.0.0.1/",
        "https://", "https://user@h/x", "https://u:p@h/x", "https://h/x#y", "https://h:x/", "https://[::1/",
    ],
)  # fmt: skip
def test_an_address_without_tls_or_with_a_password_is_refused(settings, url) -> None:
    settings.OUTBOUND_ALLOW = (ip_network("127.0.0.1"),)
    with pytest.raises(BadURL):
        url_check(url)


@pytest.mark.parametrize("url", ["https://issuer.example/keys?v=1", "http://127.0.0.1:8000/keys", "https://10.0.0.1/"])
def test_an_address_with_tls_or_one_of_our_own_is_taken(settings, url) -> None:
    settings.OUTBOUND_ALLOW = (ip_network("127.0.0.1"),)
    url_check(url)


def test_keys_of_an_address_that_was_changed_meanwhile_are_not_kept(site) -> None:
    made = publishing(site)

    def changing(handler: Handler, got: Any) -> None:
        ManifestIssuer.objects.filter(pk=made.pk).update(jwks_url="https://other.example/")
        connection.close()
        giving(jwks())(handler, got)

    site.answer = changing
    keys_refresh()
    assert ManifestIssuer.objects.get().jwks == {}


def test_a_hub_that_stops_fetches_no_more(site) -> None:
    publishing(site)
    stop = threading.Event()
    stop.set()
    assert keys_refresh(stop=stop) == 0
    assert site.got == []


def test_saving_a_form_leaves_keys_that_were_fetched_meanwhile(site) -> None:
    shown = publishing(site)
    keys_refresh()
    shown.leeway_s = 5
    issuer_save(issuer=shown, changed=["leeway_s"])
    kept = ManifestIssuer.objects.get()
    assert (kept.leeway_s, kept.jwks, kept.fetch_due_at) == (5, jwks(), at(3600))


def test_a_new_address_is_called_at_once(site) -> None:
    made = publishing(site)
    keys_refresh()
    made.refresh_from_db()
    made.jwks_url = site.url("/new")
    issuer_save(issuer=made, changed=["jwks_url"])
    assert keys_refresh() == 1
    assert site.got[-1].path == "/new"


def test_no_manifest_is_accepted_once_its_issuer_is_disabled() -> None:
    """Whatever was under way then is done or refused: revoking all of them afterwards leaves none."""
    made = issuer()
    tokens = [register(f"m{number}") for number in range(7)]

    def disable(_: object) -> None:
        until(Manifest.objects.exists)
        made.enabled = False
        issuer_save(issuer=made, changed=["enabled"])
        manifests_revoke_of(issuer=made)

    calls = [
        lambda client, number=number, token=token: send(client, token, fresh(f"m{number}", jti=f"j{number}"))
        for number, token in enumerate(tokens)
    ]
    replies = at_once([*calls, disable])[:-1]
    accepted = [each for each in replies if each.status_code == 200]
    assert accepted
    assert all(reason_of(each) == "unknown_issuer" for each in replies if each not in accepted)
    assert not Manifest.objects.filter(ended_at=None).exists()
    assert all(view(f"m{number}").row.attested_until == 0 for number in range(7))


def test_the_time_between_two_fetches_has_bounds() -> None:
    for seconds in (59, 604_801):
        with pytest.raises(IntegrityError), transaction.atomic():
            issuer(refresh_s=seconds)
