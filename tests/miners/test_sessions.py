import pytest

from miners import sessions


def test_a_token_names_its_miner_and_session() -> None:
    assert sessions.token_read(sessions.token_issue("a.b:c-1", 1_795_000_000_000)) == ("a.b:c-1", 1_795_000_000_000)


@pytest.mark.parametrize(
    "spoil", [lambda t: t + "x", lambda t: t[:-1], lambda t: "m2" + t[2:], lambda t: t.split(":")[0]]
)
def test_a_token_that_was_touched_is_none(spoil) -> None:
    assert sessions.token_read(spoil(sessions.token_issue("m1", 7))) is None


@pytest.mark.parametrize("token", ["", ":", "/", "m1/7", "m1/7:", "é", "m1/x:sig", "\x00", "\ud800:x", "a" * 10_000])
def test_what_was_never_issued_is_none(token) -> None:
    assert sessions.token_read(token) is None


def test_a_token_of_another_secret_is_none(settings) -> None:
    token = sessions.token_issue("m1", 7)
    settings.SECRET_KEY = "another-" * 8
    assert sessions.token_read(token) is None


def test_session_numbers_never_repeat() -> None:
    assert sessions.next_session(0, 1000.5) == 1_000_500_000
    assert sessions.next_session(1_000_500_000, 1000.5) == 1_000_500_001  # twice in one microsecond
    assert sessions.next_session(2_000_000_000, 1000.5) == 2_000_000_001  # the clock was set back


def test_a_key_is_hashed_with_the_pepper(settings) -> None:
    first = sessions.hash_api_key("0123456789abcdef")
    assert len(first) == 64
    assert "0123456789abcdef" not in first
    settings.API_KEY_PEPPER = "another-pepper-0123456789abcdef"
    assert sessions.hash_api_key("0123456789abcdef") != first


def test_any_text_can_be_hashed() -> None:
    assert len(sessions.hash_api_key("ключ-\ud800-🔑")) == 64


def test_no_key_matches_a_miner_without_one() -> None:
    given = sessions.hash_api_key("0123456789abcdef")
    assert sessions.key_matches(given, given)
    assert not sessions.key_matches(given, sessions.hash_api_key("0123456789abcdeg"))
    assert not sessions.key_matches(given, "")
    assert not sessions.key_matches("", "")


def test_the_key_tag_is_the_first_eight_bytes() -> None:
    assert sessions.key_tag("ff" * 8 + "00" * 24) == 2**64 - 1
    assert sessions.key_tag("") == 0


def test_issued_keys_are_long_and_differ() -> None:
    made = {sessions.new_api_key() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 32
