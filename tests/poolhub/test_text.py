"""Text of strangers, made safe to look at."""

import pytest

from poolhub.common.text import visible

pytestmark = pytest.mark.once


@pytest.mark.parametrize("text", ["", "RTX 4090", "Größe", "日本", "שלום", "🙂", "a\\b"])
def test_what_can_be_seen_stays(text) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a\u202eb", "a\\u202eb"),  # turns the direction
        ("a\u2066b", "a\\u2066b"),
        ("a\u200bb", "a\\u200bb"),  # no width
        ("a\u00adb", "a\\u00adb"),
        ("a\u00a0b", "a\\u00a0b"),  # a space that is none
        ("a\x00\n\x1bb", "a\\u0000\\u000a\\u001bb"),
        ("a\u3164b", "a\\u3164b"),  # a letter that shows nothing
        ("a\ufe0fb", "a\\ufe0fb"),
        ("a\U000e0041b", "a\\U000e0041b"),  # a tag
        ("a\U000e0100b", "a\\U000e0100b"),
        ("a\ud800b", "a\\ud800b"),
    ],
)
def test_what_hides_is_shown_as_its_code(text, want) -> None:
    assert visible(text) == want
