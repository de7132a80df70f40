"""Text of strangers, made safe to look at; pure."""

import re

# Letters and marks that show nothing, though Unicode counts them as printable: fillers, joiners, variation selectors
BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, range(0xFE00, 0xFE10)))
    + "".join(map(chr, range(0xE0100, 0xE01F0)))
)


def visible(text: str) -> str:
    """The same text, with every character that nobody can see, or that turns the direction of others, as its code."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() and char not in BLANK else _code(char) for char in text)


# Cc, Cf, Zl and Zp without the white space of HTML: nothing that the hub's own pages hold
_HIDING = re.compile(
    r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    rf"\U0001d173-\U0001d17a\U000e0001-\U000e007f{''.join(sorted(BLANK))}]"
)
# What is to be changed in a form must come back as it was; of a tag the hub's templates escape each ">" of a value.
_KEPT = re.compile(r"(<textarea\b.*?</textarea\s*>|<[^>]*>)", re.DOTALL | re.IGNORECASE)


def visible_page(html: str) -> str:
    """The same page, what cannot be seen in its text as visible() has it. Attributes and text areas stay."""
    if not _HIDING.search(html):
        return html
    parts = _KEPT.split(html)
    parts[::2] = (_HIDING.sub(lambda found: _code(found[0]), text) for text in parts[::2])
    return "".join(parts)


def _code(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
