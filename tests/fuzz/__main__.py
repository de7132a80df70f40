"""`make fuzz`: atheris (libFuzzer) on each decoder, for so many seconds each; what it finds ends in the exit code.

    python -m tests.fuzz 20            # seconds
    python -m tests.fuzz 20 feed       # this one alone

What it has found worth keeping stays in .fuzz/, from where the next run goes on; what brought a decoder down is there
too, as crash-… or timeout-….
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import atheris
import django

SECONDS = "20"
LIMIT_S, LIMIT_MB = 5, 2048  # of one input
KEPT = Path(".fuzz")
PACKAGES = ["poolhub", "miners", "matching", "market", "feedback", "jmespath", "joserfc", "tablib"]


def folder_of(name: str) -> Path:
    return KEPT / re.sub(r"\W+", "-", name)


def fuzz(name: str, seconds: str) -> None:
    """Ends the process."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
        django.setup()
        from tests.fuzz.decoders import decoders
    decoder = decoders()[name]
    corpus = folder_of(name) / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(decoder.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}", f"-timeout={LIMIT_S}", f"-rss_limit_mb={LIMIT_MB}", "-max_len=16384",
        f"-artifact_prefix={folder_of(name)}/", "-print_final_stats=1", str(corpus),
    ]  # fmt: skip

    def one_input(data: bytes) -> None:
        decoder.run(data)

    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()


def names() -> list[str]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from tests.fuzz.decoders import decoders

    return list(decoders())


def main(seconds: str, chosen: list[str]) -> int:
    failed = 0
    for name in chosen or names():
        command = [sys.executable, "-m", "tests.fuzz", "--one", name, seconds]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        runs = re.search(r"number_of_executed_units:\s+(\d+)", done.stderr)
        new = re.search(r"new_units_added:\s+(\d+)", done.stderr)
        print(f"{name}: {runs[1] if runs else '?'} runs, {new[1] if new else '?'} kept", flush=True)
        if done.returncode:
            failed += 1
            print(done.stdout[-2000:], done.stderr[-4000:], f"--- {name} failed: look into {folder_of(name)}", sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(*sys.argv[2:4])
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else SECONDS, sys.argv[2:]))
