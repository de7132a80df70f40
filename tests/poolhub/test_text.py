"""Text of strangers, made safe to look at."""

import sys
import unicodedata

import pytest

from poolhub.common.text import BLANK, visible, visible_page

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


def test_in_the_text_of_a_page_what_hides_is_shown_and_the_rest_stays() -> None:
    page = '<p title="a\u202eb">a\u202eb \u00a0&lt;b&gt;</p>\n<textarea>c\u200b</textarea>d\u200b'
    shown = '<p title="a\u202eb">a\\u202eb \u00a0&lt;b&gt;</p>\n<textarea>c\u200b</textarea>d\\u200b'
    assert visible_page(page) == shown


def test_of_a_page_every_character_that_hides_or_turns_is_known() -> None:
    hides = {
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if (unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") or char in BLANK) and char not in "\t\n\f\r"
    }
    assert {char for char in hides if visible_page(char) == char} == set()
    assert all(visible_page(char) == char for char in "\t\n\f\r\u00a0aש日🙂")


def test_a_page_with_nothing_of_it_is_the_same_object() -> None:
    page = "<p>Größe\u00a0שלום</p>"
    assert visible_page(page) is page
