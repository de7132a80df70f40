"""Text of strangers, made safe to look at; pure."""

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


def _code(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
