"""The scan for secrets of `make check`: detect-secrets over every file that is committed, or would be.

.secrets.baseline has how it scans, and what it found that is no secret (fakes of tests, examples of docs), as hashes.
A value that is in neither the code nor the baseline fails the check, and so does one that is in the baseline alone.
Nothing is asked of the services that a secret would belong to.

    python -m tests.security.leaks            # tells what is new
    python -m tests.security.leaks --accept   # takes what is there into the baseline: look through its diff
"""

import argparse
import json
import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from detect_secrets.core import baseline
from detect_secrets.core.secrets_collection import SecretsCollection

ROOT = Path(__file__).resolve().parent.parent.parent
BASELINE = ".secrets.baseline"


def files(root: Path) -> list[str]:
    """What git has or would add; in a tree without its history, what .gitignore does not name."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return sorted(_walk(root))
    return [name for name in listed.split("\0") if name and (root / name).is_file()]


def _walk(root: Path) -> list[str]:
    ignored = [".git", *(line.strip("/") for line in (root / ".gitignore").read_text().split())]
    found = []
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)

        def is_kept(name: str, here: Path = here) -> bool:
            return not any(fnmatch(name, each) or fnmatch(str(here / name), each) for each in ignored)

        folders[:] = filter(is_kept, folders)
        found += [str(here / name) for name in names if is_kept(name)]
    return found


def scan(names: list[str]) -> tuple[SecretsCollection, SecretsCollection]:
    """What is found in these files of the working directory, and what the baseline knows."""
    known = baseline.load(baseline.load_from_file(BASELINE), BASELINE)
    found = SecretsCollection()
    found.scan_files(*names, num_processors=os.cpu_count() or 1)
    return found, known


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="leaks")
    parser.add_argument("--accept", action="store_true")
    accept = parser.parse_args(arguments).accept
    os.chdir(ROOT)
    names = files(ROOT)
    found, known = scan(names)
    if accept:
        told = baseline.format_for_output(found, is_slim_mode=True)
        Path(BASELINE).write_text(json.dumps(told, indent=2) + "\n")
        return 0
    new, gone = found - known, known - found
    for name, secret in new:
        print(f"{name}:{secret.line_number}: {secret.type}, which is not in {BASELINE}")
    for name, secret in gone:
        print(f"{name}: {secret.type} of {BASELINE} is there no more")
    if new or gone:
        print(f"What is no secret goes into {BASELINE} by: python -m tests.security.leaks --accept")
        return 1
    print(f"no secret in {len(names)} files; {sum(len(known[name]) for name in known.files)} known to be none")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
