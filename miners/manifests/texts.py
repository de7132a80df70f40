import re

from poolhub.common.fields import UNSAFE

_UNSAFE = re.compile(f"[{UNSAFE}\ud800-\udfff]")


def is_safe(text: str) -> bool:
    """Whether a text can be stored and be looked at: without characters that hide, and halves of pairs."""
    return not _UNSAFE.search(text)
