"""Issuers and manifests in the admin, and what a miner's page shows of them."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from access.models import Change
from access.roles import Role
from miners.models import Manifest, ManifestIssuer
from tests.miners.admin_pages import page
from tests.miners.builders import post, register, view
from tests.miners.manifests.builders import ISSUER, NOW, claims, jwks, key, public, signed
from tests.miners.manifests.issuing import accept, fresh, issuer
from tests.operators import logged_in, messages_of, shows, superuser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("time")]

ISSUERS, MANIFESTS = "/admin/miners/manifestissuer/", "/admin/miners/manifest/"


@pytest.fixture
def root() -> Client:
    return superuser()


def form(**changes: Any) -> dict[str, Any]:
    """What the form of a new issuer sends."""
    sent = {
        "name": "tests", "issuer": ISSUER, "enabled": "on", "jwks": json.dumps(jwks()), "jwks_url": "",
        "refresh_s": "3600", "algorithms": ["ES256", "ES384"], "leeway_s": "60", "max_lifetime_s": "86400", "audience": "",
        "subject_claim": "sub", "subject_form": "plain", "mapping": '{"gpu_vram": "/gpu/gb"}', "required": '{"ok": [true, 1.5, "x"]}',
        **changes,
    }  # fmt: skip
    return {name: json.dumps(value) if isinstance(value, dict) else value for name, value in sent.items()}


def add(client: Client, **changes: Any) -> Any:
    return client.post(f"{ISSUERS}add/", form(**changes), follow=True)


def faults(reply: Any) -> dict[str, list[str]]:
    assert reply.status_code == 200
    found: dict[str, list[str]] = reply.context["adminform"].form.errors
    return found


def test_an_issuer_that_is_added_is_believed_by_its_policy(root, client) -> None:
    add(root)
    made = ManifestIssuer.objects.get()
    assert (made.jwks, made.algorithms, made.mapping) == (jwks(), ["ES256", "ES384"], {"gpu_vram": "/gpu/gb"})
    token = register()
    manifest = signed(claims(gpu={"gb": 80}, ok=True, now=NOW))
    assert post(client, "/v1/miners/manifest", {"manifest": manifest}, token=token).status_code == 200
    assert view().row.attested.values() == {"gpu_vram": 80}
    change = Change.objects.get(model="miners.manifestissuer")
    assert (change.action, change.user_name, change.after["jwks"]) == ("added", "root", jwks())


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "HS256"])
def test_a_private_key_is_refused_and_nothing_is_kept_of_it(root, algorithm) -> None:
    private = key(algorithm).as_dict(private=True)
    reply = add(root, jwks={"keys": [*public(key(kid="k2")), private]})
    assert "only public keys" in faults(reply)["jwks"][0]
    assert not ManifestIssuer.objects.exists()
    assert not Change.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("jwks", "{"), ("jwks", "[]"), ("jwks", ""), ("jwks", '{"keys": []}'), ("algorithms", []), ("algorithms", ["none"]),
        ("algorithms", ["HS256"]), ("algorithms", ["Ed25519"]), ("issuer", ""), ("issuer", "a\u202eb"), ("name", ""),
        ("refresh_s", "59"), ("leeway_s", "3601"), ("leeway_s", "-1"), ("max_lifetime_s", "0"), ("max_lifetime_s", "x"),
        ("subject_claim", ""), ("subject_claim", "#sub"), ("subject_claim", "x" * 256), ("subject_form", "md5"),
        ("mapping", "[]"), ("mapping", {"tags": "tags"}), ("mapping", {"trust": "x"}), ("mapping", {"gpu_name": ""}),
        ("mapping", {"gpu_name": 5}), ("mapping", {"gpu_name": "a\0"}), ("mapping", '{"gpu_name": "\\ud800"}'),
        ("required", "[]"), ("required", {"a": None}), ("required", {"a": {"b": 1}}), ("required", {"a": []}),
        ("required", {"a": [[1]]}), ("required", '{"a": NaN}'), ("required", '{"a": 1e999}'), ("required", {"": 1}),
        ("required", {"a": "\0"}), ("required", {str(n): 1 for n in range(51)}), ("audience", "a\u200fb"),
    ],
)  # fmt: skip
def test_what_the_verifier_could_not_hold_to_is_refused_at_its_field(root, field, value) -> None:
    assert field in faults(add(root, **{field: value}))
    assert not ManifestIssuer.objects.exists()


@pytest.mark.parametrize("url", ["http://issuer.example/keys", "ftp://x", "https://u:p@issuer.example/", "x"])
def test_an_address_of_keys_is_https(root, url) -> None:
    assert "jwks_url" in faults(add(root, jwks="", jwks_url=url))


def test_keys_are_either_pasted_or_fetched(root) -> None:
    url = "https://issuer.example/keys"
    assert "jwks" in faults(add(root, jwks_url=url))
    add(root, jwks="", jwks_url=url)
    made = ManifestIssuer.objects.get()
    assert (made.jwks, made.jwks_url, made.fetch_due_at) == ({}, url, None)


def change(client: Client, made: ManifestIssuer, **changes: Any) -> Any:
    return client.post(f"{ISSUERS}{made.pk}/change/", form(**changes), follow=True)


def test_a_change_of_the_policy_leaves_the_keys_that_were_fetched(root) -> None:
    add(root, jwks="", jwks_url="https://issuer.example/keys")
    ManifestIssuer.objects.update(jwks=jwks())
    made = ManifestIssuer.objects.get()
    assert shows(root.get(f"{ISSUERS}{made.pk}/change/"), "Keys as they are in force")
    change(root, made, jwks="", jwks_url=made.jwks_url, leeway_s="5")
    made.refresh_from_db()
    assert (made.leeway_s, made.jwks) == (5, jwks())
    assert Change.objects.order_by("-id").first().after == {"leeway_s": 5}  # type: ignore[union-attr]


def test_rotation_of_pasted_keys_is_a_change_in_the_log(root) -> None:
    add(root)
    both = jwks(key(), key(kid="k2"))
    change(root, ManifestIssuer.objects.get(), jwks=both)
    made = Change.objects.order_by("-id").first()
    assert made is not None
    assert (made.action, made.before, made.after) == ("changed", {"jwks": jwks()}, {"jwks": both})
    assert ManifestIssuer.objects.get().jwks == both


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_issuers_are_administrators_business(role) -> None:
    made = issuer()
    user = User.objects.create_user("somebody", is_staff=True)
    user.groups.add(Group.objects.get(name=role.value))
    client = logged_in(user)
    assert client.get(f"{ISSUERS}{made.pk}/change/").status_code == 200
    assert client.post(f"{ISSUERS}add/", form(name="x", issuer="x")).status_code == 403
    assert client.post(f"{ISSUERS}{made.pk}/change/", form(leeway_s="5")).status_code == 403
    assert client.post(f"{ISSUERS}{made.pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(ISSUERS, {"action": "fetch_now", "_selected_action": made.pk})
    assert list(ManifestIssuer.objects.values_list("leeway_s", "fetch_due_at")) == [(60, None)]


def test_an_administrator_may_add_one() -> None:
    user = User.objects.create_user("admin", is_staff=True)
    user.groups.add(Group.objects.get(name=Role.ADMINISTRATOR.value))
    add(logged_in(user))
    assert ManifestIssuer.objects.exists()


def test_an_issuer_with_manifests_stays_and_one_without_may_go(root) -> None:
    made = issuer()
    accept(register(), fresh())
    url = f"{ISSUERS}{made.pk}/delete/"
    assert shows(root.get(url), "1 manifests")
    root.post(url, {"post": "yes"})
    assert ManifestIssuer.objects.exists()
    Manifest.objects.all().delete()
    root.post(url, {"post": "yes"})
    assert not ManifestIssuer.objects.exists()


def test_fetching_now_is_for_issuers_with_an_address(root) -> None:
    made = issuer(jwks_url="https://issuer.example/keys", fetch_due_at="2030-01-01T00:00Z")
    pasted = issuer(name="pasted", issuer="pasted")
    done = root.post(ISSUERS, {"action": "fetch_now", "_selected_action": [made.pk, pasted.pk]}, follow=True)
    assert messages_of(done) == ["The keys of tests are fetched within seconds."]
    assert ManifestIssuer.objects.get(pk=made.pk).fetch_due_at is None


# ---- a manifest that is tried


def test_a_manifest_can_be_tried_and_nothing_changes(root) -> None:
    made = issuer()
    url = reverse("admin:miners_manifestissuer_try", args=[made.pk])
    assert root.get(url).status_code == 200
    good = root.post(url, {"miner_id": "m1", "token": f" {fresh()}\n"})
    assert shows(good, "It would be believed")
    assert shows(good, "NVIDIA H100")
    bad = root.post(url, {"miner_id": "m2", "token": fresh()})
    assert shows(bad, "Refused: foreign_subject")
    assert shows(root.post(url, {"miner_id": "m1", "token": fresh(iss="other")}), "Refused: unknown_issuer")
    assert root.post(url, {"miner_id": "", "token": ""}).status_code == 200
    assert root.get(url.replace(str(made.pk), "999")).status_code == 302
    assert not Manifest.objects.exists()


# ---- manifests


def revoke(client: Client, **sent: Any) -> Any:
    chosen = list(Manifest.objects.values_list("pk", flat=True))
    return client.post(MANIFESTS, {"action": "revoke", "_selected_action": chosen, **sent}, follow=True)


def test_revoking_asks_first_holds_at_once_and_is_in_the_log(root) -> None:
    issuer()
    accept(register(), fresh())
    assert shows(root.get(MANIFESTS, {"standing": "in force"}), "j1")
    assert shows(revoke(root), "Revoke: 1 manifest.")
    assert view().row.attested_until == NOW + 3600
    assert messages_of(revoke(root, confirmed="yes", reason="its GPU was sold")) == ["1 manifest revoked."]
    assert view().row.attested_until == 0
    logged = Change.objects.get(action="manifest revoked")
    assert (logged.reason, logged.of_model, logged.user_name) == ("its GPU was sold", "miners.miner", "root")
    assert "not in force" in messages_of(revoke(root, confirmed="yes"))[0]
    assert shows(root.get(MANIFESTS, {"standing": "revoked"}), "j1")
    assert root.get(f"{MANIFESTS}{Manifest.objects.get().pk}/change/").status_code == 200


def test_all_manifests_of_an_issuer_are_revoked_when_it_was_asked(root) -> None:
    made = issuer()
    for number in (1, 2):
        accept(register(f"m{number}"), fresh(f"m{number}", jti=f"j{number}"))
    sent = {"action": "revoke_all", "_selected_action": made.pk}
    assert shows(root.post(ISSUERS, sent), "Revoke all its manifests: 2 manifests.")
    done = root.post(ISSUERS, {**sent, "confirmed": "yes"}, follow=True)
    assert messages_of(done) == ["2 manifests of tests revoked."]
    assert Manifest.objects.filter(ended_by="revoked").count() == 2


def test_the_list_of_manifests_costs_the_same_for_one_as_for_many(root, django_assert_max_num_queries) -> None:
    issuer()
    for number in range(10):
        accept(register(f"m{number}"), fresh(f"m{number}", jti=f"j{number}"))
    with django_assert_max_num_queries(7):
        assert root.get(MANIFESTS).status_code == 200


# ---- a miner's page


def test_a_miner_s_page_shows_claimed_attested_and_observed_side_by_side(root, client, time) -> None:
    issuer()
    token = register(gpu_name="GTX 1060", gpu_vram=6, capabilities=["<b>a</b>"])
    post(client, "/v1/miners/update", {"mem_free_gb": 5.5, "avg_latency_ms": 40}, token=token)
    assert shows(root.get(page()), "Claimed, attested, observed")
    accept(token, fresh(capabilities=["<i>x</i>"]))
    shown = root.get(page())
    for text in ("Attested until 2027-01-15 09:00:00 UTC.", "GTX 1060", "NVIDIA H100", "6 GB", "80 GB", "<b>a</b>", "<i>x</i>",
                 "5.5 GB free, by its own report", "40 ms", "0 taken"):  # fmt: skip
        assert shows(shown, text), text
    assert shown.content.count(b"data-differs") == 3  # GPU, its memory, capabilities
    time.advance(3600)
    later = root.get(page())
    assert shows(later, "Was attested until 2027-01-15 09:00:00 UTC.")
    assert b"data-differs" not in later.content
    assert not shows(later, "NVIDIA H100")


def test_removing_a_miner_does_not_count_the_manifests_that_stay(root) -> None:
    issuer()
    accept(register(), fresh())
    assert "manifests" not in str(root.get(page(of="delete")).context["model_count"])
