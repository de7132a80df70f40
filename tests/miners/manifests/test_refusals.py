"""Every way in which one manifest is refused, by the verifier alone; docs/manifests.md names these tests."""

import hashlib
import json
from typing import Any

import pytest

from miners.manifests.keys import ALGORITHMS
from miners.manifests.reasons import Reason, Refused
from miners.manifests.tokens import MAX_TOKEN
from miners.manifests.verify import Policy, SubjectForm, Verified, verify
from tests.miners.manifests.builders import ISSUER, NOW, claims, jwks, key, part, policy, public, signed, signed_raw

pytestmark = pytest.mark.pure


def check(token: str, given: Policy | None = None, *, miner_id: str = "m1", now: float = NOW) -> Verified:
    known = given or policy()
    return verify(token, {known.issuer: known}.get, miner_id=miner_id, now=now)


def reason(token: str, given: Policy | None = None, **options: Any) -> Reason:
    with pytest.raises(Refused) as refused:
        check(token, given, **options)
    assert refused.value.detail
    return refused.value.reason


# ---- what is believed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_manifest_is_believed_with_each_algorithm(algorithm) -> None:
    found = check(signed(claims(gpu_count=8), algorithm=algorithm), policy(key(algorithm)))
    assert found.values == {"gpu_name": "NVIDIA H100", "gpu_vram": 80, "gpu_count": 8}
    assert (found.issuer, found.jti, found.issued_at, found.expires_at) == (ISSUER, "j1", NOW, NOW + 3600)


def test_a_token_without_a_key_s_name_is_believed_where_there_is_one_key() -> None:
    assert check(signed(claims(), kid=None)).jti == "j1"


def test_of_several_keys_the_named_one_counts() -> None:
    keys = key(), key(kid="k2"), key("ES384", "k3")
    assert check(signed(claims(), by=keys[1]), policy(*keys)).jti == "j1"


def test_a_manifest_without_a_name_of_its_own_goes_by_what_was_signed() -> None:
    token = signed(claims(jti=None))
    digest = hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()
    assert check(token).jti == f"sha256:{digest}"


def test_other_claims_are_passed_over() -> None:
    assert check(signed(claims(tags=["gold"], price=1, trust_score=1))).values.keys() == {"gpu_name", "gpu_vram"}


def test_the_subject_may_be_the_digest_of_the_miner_s_id() -> None:
    digest = hashlib.sha256(b"m1").hexdigest()
    asked = policy(subject_claim="eat_nonce", subject_form=SubjectForm.SHA256)
    for written in (digest, digest.upper()):
        assert check(signed(claims(sub="a platform", eat_nonce=written)), asked).jti == "j1"
    assert reason(signed(claims(eat_nonce=digest)), asked, miner_id="m2") is Reason.FOREIGN_SUBJECT
    assert reason(signed(claims(eat_nonce="m1")), asked) is Reason.FOREIGN_SUBJECT


# ---- what cannot be read


def test_a_token_that_is_too_long_is_refused() -> None:
    token = signed(claims(filler="x" * MAX_TOKEN))
    assert reason(token) is Reason.TOO_LONG


@pytest.mark.parametrize(
    "token",
    [
        "", "x", "a.b", "a.b.c.d", "é.b.c", "a.b.c ", "a.b.c\n", "a=.b.c", "a b.c.d", "..", ".a.b", f"{part({})}..x",
        f"{part(b'[]')}.{part(b'{}')}.x", f"{part(b'{')}.{part(b'{}')}.x", f"{part({})}.{part(b'3')}.x",
        f"{part({})}.{part(b'{')}.x", f"{part({})}.{part(b'{} {}')}.x", f"{part(bytes([0xFF]))}.{part({})}.x",
        f"{part({})}.{part(b'[' * 9000)}.x", "a.b.c",
        *(f"{part({})}.{part(text)}.x" for text in (b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\ud800"}', b"\xef\xbb\xbf{}")),
    ],
)  # fmt: skip
def test_what_is_no_compact_jws_of_json_objects_is_refused(token) -> None:
    assert reason(token) is Reason.MALFORMED


@pytest.mark.parametrize("where", ["header", "payload", "deep"])
def test_an_object_that_names_something_twice_is_refused(where) -> None:
    """Or two readers could take it for two different things."""
    header, payload = {"alg": "ES256", "kid": "k1"}, claims()
    raw = [json.dumps(each).encode() for each in (header, payload)]
    if where == "header":
        raw[0] = raw[0].replace(b"{", b'{"alg": "none", ', 1)
    elif where == "payload":
        raw[1] = raw[1].replace(b"{", b'{"sub": "m2", ', 1)
    else:
        raw[1] = raw[1].replace(b"{", b'{"x": {"a": 1, "a": 2}, ', 1)
    assert reason(signed_raw(*raw, key(), "ES256")) is Reason.REPEATED_NAME


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False}, {"zip": "DEF"}, {"enc": "x"}]
)
def test_a_header_that_changes_what_the_token_means_is_refused(header) -> None:
    assert reason(signed(claims(), **header)) is Reason.UNSUPPORTED_HEADER


# ---- algorithms and keys


@pytest.mark.parametrize("name", ["none", "None", "HS256", "RS256", "ES512", "ES256K", "Ed448", "", 1, ["ES256"], None])
def test_an_algorithm_that_is_none_or_symmetric_or_unknown_is_refused(name) -> None:
    assert reason(signed(claims(), alg=name)) is Reason.WRONG_ALGORITHM
    assert reason(signed_raw({"alg": name}, claims(), key(), "none")) is Reason.WRONG_ALGORITHM


def test_a_public_key_does_not_serve_as_a_secret() -> None:
    """The classic: HS256 with the bytes of the issuer's public key."""
    from joserfc.jwk import OctKey

    secret = OctKey.import_key(key().as_pem(private=False).replace(b"-----", b"="))
    assert reason(signed(claims(), by=secret, algorithm="HS256", kid="k1")) is Reason.WRONG_ALGORITHM


def test_an_algorithm_that_the_issuer_does_not_use_is_refused() -> None:
    assert reason(signed(claims()), policy(algorithms=("ES384",))) is Reason.WRONG_ALGORITHM


def test_an_issuer_that_is_not_trusted_is_refused() -> None:
    assert reason(signed(claims(iss="https://other.example"))) is Reason.UNKNOWN_ISSUER


@pytest.mark.parametrize("kid", ["k2", "", "K1", "k1 ", 1, ["k1"], {"a": 1}, True])
def test_a_key_that_its_issuer_does_not_have_is_refused(kid) -> None:
    assert reason(signed(claims(), kid=kid)) is Reason.UNKNOWN_KEY


def test_a_key_of_another_issuer_is_refused() -> None:
    ours, theirs = policy(), policy(key("ES256", "k2"), issuer="https://other.example")
    known = {each.issuer: each for each in (ours, theirs)}
    with pytest.raises(Refused) as refused:
        verify(signed(claims(), by=key("ES256", "k2")), known.get, miner_id="m1", now=NOW)
    assert refused.value.reason is Reason.UNKNOWN_KEY


def test_no_key_s_name_is_refused_where_there_are_several_keys() -> None:
    assert reason(signed(claims(), kid=None), policy(key(), key(kid="k2"))) is Reason.AMBIGUOUS_KEY


def test_a_key_that_is_not_one_for_the_algorithm_is_refused() -> None:
    assert reason(signed(claims(), alg="ES384")) is Reason.UNFIT_KEY
    assert reason(signed(claims(), alg="EdDSA")) is Reason.UNFIT_KEY
    meant = {**public(key("Ed25519"))[0], "alg": "ES256"}
    assert reason(signed(claims(), algorithm="Ed25519"), policy(keys=[meant])) is Reason.UNFIT_KEY


def test_a_key_that_names_the_old_name_of_its_algorithm_is_fit_for_the_new_one() -> None:
    meant = {**public(key("Ed25519"))[0], "alg": "EdDSA"}
    assert check(signed(claims(), algorithm="Ed25519"), policy(keys=[meant])).jti == "j1"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_that_is_not_the_key_s_is_refused(algorithm) -> None:
    asked, good = policy(key(algorithm)), signed(claims(), algorithm=algorithm)
    body, _, signature = good.rpartition(".")
    header, _, _ = good.split(".")
    flipped = "A" if signature[0] != "A" else "B"
    for token in (
        signed(claims(), by=key(algorithm, "other"), algorithm=algorithm, kid="k1"),
        f"{body}.{flipped}{signature[1:]}",
        f"{body}.{signature[:40]}",
        f"{body}.",
        f"{header}.{part(claims(gpu_vram=800))}.{signature}",
        f"{part({'alg': algorithm, 'kid': 'k1'})}.{body.partition('.')[2]}.{signature}",
    ):
        assert reason(token, asked) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("header", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_the_token_brings_along_is_never_used(header) -> None:
    theirs = key("ES256", "theirs")
    brought = {
        "jwk": public(theirs)[0], "jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/x", "x5c": ["AA"],
    }  # fmt: skip
    with_name = signed(claims(), by=theirs, kid="k1", **{header: brought[header]})
    assert reason(with_name) is Reason.BAD_SIGNATURE
    assert reason(signed(claims(), by=theirs, **{header: brought[header]})) is Reason.UNKNOWN_KEY


# ---- claims


@pytest.mark.parametrize("name", ["iss", "sub", "iat", "exp"])
def test_a_claim_that_is_missing_is_refused(name) -> None:
    assert reason(signed(claims(**{name: None}))) is Reason.MISSING_CLAIM
    assert reason(signed({**claims(), name: None})) is Reason.MISSING_CLAIM


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("iat", "exp", "nbf") for value in ("1800000000", True, [1], -1, 1e300, {})),
        *(("jti", value) for value in (1, "", "x" * 256, ["j"], "a\0b", "a\u202eb")),
        *(("iss", value) for value in (1, "", "x" * 256, [ISSUER])),
    ],
)
def test_a_claim_that_is_not_what_it_must_be_is_refused(name, value) -> None:
    assert reason(signed(claims(**{name: value}))) is Reason.INVALID_CLAIM


def test_a_manifest_that_ends_before_it_begins_is_refused() -> None:
    for exp in (NOW, NOW - 1):
        assert reason(signed(claims(exp=exp))) is Reason.INVALID_CLAIM


@pytest.mark.parametrize("sub", ["m2", "M1", "m1 ", "", 1, ["m1"], {"m1": 1}, True])
def test_a_manifest_of_another_miner_is_refused(sub) -> None:
    assert reason(signed(claims(sub=sub))) is Reason.FOREIGN_SUBJECT


@pytest.mark.parametrize(
    ("audience", "aud"), [("", "pool-hub"), ("", ""), ("", [""]), ("hub", "other"), ("hub", ["other"]), ("hub", None)]
)
def test_a_manifest_that_is_meant_for_somebody_else_is_refused(audience, aud) -> None:
    assert reason(signed(claims(aud=aud)), policy(audience=audience)) is Reason.FOREIGN_AUDIENCE


@pytest.mark.parametrize("aud", ["hub", ["other", "hub"]])
def test_a_manifest_that_is_meant_for_this_hub_is_believed(aud) -> None:
    assert check(signed(claims(aud=aud)), policy(audience="hub")).jti == "j1"


def test_a_manifest_that_has_expired_is_refused_to_the_second() -> None:
    token = signed(claims())
    assert check(token, now=NOW + 3599.999).jti == "j1"
    assert reason(token, now=NOW + 3600) is Reason.EXPIRED


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_manifest_of_the_future_is_refused_beyond_the_clocks_difference(name) -> None:
    assert check(signed(claims(**{name: NOW + 60}))).jti == "j1"
    assert reason(signed(claims(**{name: NOW + 60.5}))) is Reason.NOT_YET_VALID


def test_a_manifest_that_lives_too_long_is_refused() -> None:
    assert check(signed(claims(exp=NOW + 86_400))).jti == "j1"
    assert reason(signed(claims(exp=NOW + 86_401))) is Reason.LIFETIME_TOO_LONG


@pytest.mark.parametrize(
    ("required", "said", "fits"),
    [
        ({"ok": True}, {"ok": True}, True),
        ({"ok": True}, {"ok": 1}, False),
        ({"ok": True}, {"ok": "true"}, False),
        ({"ok": True}, {}, False),
        ({"level": [1, 2]}, {"level": 2}, True),
        ({"level": [1, 2]}, {"level": 3}, False),
        ({"level": [1, 2]}, {"level": True}, False),
        ({"/a/b/0": "x"}, {"a": {"b": ["x"]}}, True),
        ({"/a/b/1": "x"}, {"a": {"b": ["x"]}}, False),
        ({"#/a": 2}, {"a": {"b": 1, "c": 1}}, True),
    ],
)
def test_a_claim_that_is_not_as_its_issuer_must_have_it_is_refused(required, said, fits) -> None:
    token, asked = signed(claims(**said)), policy(required=required)
    if fits:
        assert check(token, asked).jti == "j1"
    else:
        assert reason(token, asked) is Reason.UNMET_REQUIREMENT


def test_a_manifest_that_attests_nothing_is_refused() -> None:
    assert reason(signed(claims(gpu_name=None, gpu_vram=None))) is Reason.NO_VALUES


def test_an_issuer_may_attest_nothing_but_that_a_miner_is_what_it_should_be() -> None:
    assert check(signed(claims()), policy(mapping={})).values == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu_vram", -1), ("gpu_vram", 1_000_001), ("gpu_vram", "80"), ("gpu_vram", True), ("gpu_count", 1.5),
        ("gpu_count", -1), ("gpu_count", 1_000_001), ("cpu_cores", "x"), ("ram_gb", []), ("gpu_name", "x" * 257),
        ("gpu_name", 5), ("gpu_name", "H100\0"), ("gpu_name", "H\u202e100"), ("region", "x" * 65), ("region", "a\nb"),
        ("accel", "cuda"), ("accel", ["x" * 65]), ("accel", ["x"] * 65), ("capabilities", ["x"] * 257),
        ("capabilities", ["x" * 129]), ("capabilities", [1]), ("capabilities", {"a": 1}), ("capabilities", ["a\x1b"]),
    ],
)  # fmt: skip
def test_a_value_that_no_registration_may_have_is_refused(name, value) -> None:
    assert reason(signed(claims(**{name: value}))) is Reason.INVALID_VALUE


def test_no_token_whatever_it_is_raises_anything_but_a_refusal() -> None:
    good = signed(claims())
    for at in range(len(good)):
        for letter in "A.é\0":
            token = good[:at] + letter + good[at + 1 :]
            if token != good:
                reason(token)


def test_the_keys_of_tests_are_keys_of_a_set() -> None:
    assert set(jwks(key(), key("Ed25519", "k2"))["keys"][0]) == {"kty", "crv", "x", "y", "kid"}
