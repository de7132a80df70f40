"""Which sets of keys an issuer may have."""

import pytest

from miners.manifests.keys import MAX_KEYS, BadKeys, public_keys
from tests.miners.manifests.builders import jwks, key, public

pytestmark = pytest.mark.pure

RSA = {"kty": "RSA", "kid": "r", "n": "0vx7", "e": "AQAB"}


def test_public_keys_of_each_kind_are_taken_and_others_are_passed_over() -> None:
    good = public(key(), key("ES384", "k2"), key("Ed25519", "k3"))
    others = [RSA, {**good[0], "kid": "e", "use": "enc"}, {**good[0], "kid": "s", "key_ops": ["sign"]}, {"kty": "new"}]
    assert public_keys({"keys": [*good, *others]}) == good


def test_of_a_key_nothing_is_kept_but_what_it_is_verified_with() -> None:
    more = {**public(key())[0], "x5c": ["AA"], "use": "sig", "key_ops": ["verify"], "note": "\0"}
    assert public_keys({"keys": [more]}) == public(key())


@pytest.mark.parametrize(
    "given", [None, [], {}, "x", {"keys": None}, {"keys": {}}, {"keys": ["x"]}, {"keys": [RSA] * (MAX_KEYS + 1)}]
)
def test_what_is_no_set_of_keys_is_refused(given) -> None:
    with pytest.raises(BadKeys, match="JWK Set"):
        public_keys(given)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "Ed25519", "HS256"])
def test_a_private_or_symmetric_key_is_refused_and_not_repeated(algorithm) -> None:
    private = key(algorithm).as_dict(private=True)
    with pytest.raises(BadKeys, match="only public keys") as refused:
        public_keys({"keys": [*public(key(kid="k2")), private]})
    assert private.get("d", private.get("k")) not in str(refused.value)


def test_a_private_key_is_refused_though_it_is_of_a_kind_that_is_passed_over() -> None:
    with pytest.raises(BadKeys, match="only public keys"):
        public_keys({"keys": [*public(key()), {**RSA, "d": "AQ"}]})


@pytest.mark.parametrize(
    "broken",
    [{"x": "AAAA"}, {"x": 5}, {"x": None}, {"y": "é"}, {"x": "A"}],
)
def test_a_broken_key_is_refused(broken) -> None:
    with pytest.raises(BadKeys, match="broken"):
        public_keys({"keys": [{**public(key())[0], **broken}]})


def test_a_set_without_a_key_of_use_is_refused() -> None:
    for keys in (
        [],
        [RSA],
        [{**public(key())[0], "alg": ["ES256"]}],
        *([{**public(key())[0], "kid": kid}] for kid in (5, "", "a\0", "\ud800", "x" * 256)),
    ):
        with pytest.raises(BadKeys, match="no key for"):
            public_keys({"keys": keys})


def test_keys_that_share_a_name_are_refused() -> None:
    same = [*public(key()), *public(key("ES384"))]
    assert {each["kid"] for each in same} == {"k1"}
    with pytest.raises(BadKeys, match="same kid"):
        public_keys({"keys": same})
    assert public_keys(jwks(key())) == public(key())
