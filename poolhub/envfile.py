"""`.env` from `.env.example`, with secrets of its own: ``python -m poolhub.envfile``. An existing file is left alone.

Standard library alone, and no settings: it runs before there are any.
"""

import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECRETS = ("SECRET_KEY", "API_KEY_PEPPER", "COORDINATOR_SHARED_SECRET", "ADMIN_SHARED_SECRET")
EMPTY = re.compile(rf"^({'|'.join(SECRETS)})=$", re.MULTILINE)


def filled(example: str) -> str:
    return EMPTY.sub(lambda found: f"{found[1]}={secrets.token_urlsafe(48)}", example)


def write(root: Path = ROOT) -> bool:
    """False where the file was there already. Only its owner may read it."""
    text = filled((root / ".env.example").read_text())
    try:
        file = os.open(root / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(file, "w") as sink:
        sink.write(text)
    return True


if __name__ == "__main__":
    sys.stdout.write("made .env with new secrets\n" if write() else "")
