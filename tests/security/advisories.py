"""The audit of `make check`: whether a package of requirements*.txt has a known vulnerability, by pip-audit.

It asks PyPI's advisories, and OSV where PyPI has none. A machine that reaches neither, such as one behind a mirror of
PyPI, gets a loud note that nothing was audited, and goes on: only what was asked can fail. OSV_URL names another
service that speaks OSV's protocol; what is named has to answer.

pip-audit alone does not do: it calls packages that a service does not know free of vulnerabilities.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
IGNORED: dict[str, str] = {}  # the id of an advisory, and why the hub is not concerned
PROBE = "django"  # which each service knows
TIMEOUT_S = 5
NOTE = """\
##############################################################################
#  NOT AUDITED: no advisory service answers on this machine, so nobody knows #
#  whether the packages of requirements*.txt have known vulnerabilities.     #
#  Run `make check` where pypi.org or api.osv.dev is reached, or set OSV_URL.#
##############################################################################"""


@dataclass(frozen=True, slots=True)
class Audit:
    audited: int
    unknown: list[str]  # that the service does not have
    vulnerable: list[str]


def pins(files: Sequence[Path]) -> list[dict[str, str]]:
    """Versions by names, of every platform; a second version of a name is in the second dictionary, and so on."""
    found: list[dict[str, str]] = [{}]
    seen: set[tuple[str, str]] = set()
    for file in files:
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", file.read_text(), re.MULTILINE):
            if (name, version) in seen:
                continue
            seen.add((name, version))
            free = next((each for each in found if name not in each), None)
            if free is None:
                found.append(free := {})
            free[name] = version
    return found


def audit(pinned: dict[str, str], service: Sequence[str]) -> Audit | None:
    """None where the service does not answer."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "pins.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in pinned.items()))
        command = [
            sys.executable, "-m", "pip_audit", *service, "--requirement", str(listed), "--no-deps", "--disable-pip",
            "--progress-spinner", "off", "--timeout", str(TIMEOUT_S), "--format", "json",
            *(part for each in IGNORED for part in ("--ignore-vuln", each)),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return read(done.stdout) if done.stdout.startswith("{") else None


def read(report: str) -> Audit:
    told = json.loads(report)["dependencies"]
    return Audit(
        audited=sum("skip_reason" not in each for each in told),
        unknown=[each["name"] for each in told if "skip_reason" in each],
        vulnerable=[
            f"{each['name']} {each['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
            for each in told for found in each.get("vulns", ())
        ],
    )  # fmt: skip


def services() -> list[list[str]]:
    named = os.environ.get("OSV_URL")
    osv = ["--vulnerability-service", "osv"]
    return [[*osv, "--osv-url", named]] if named else [["--vulnerability-service", "pypi"], osv]


def answering(pinned: dict[str, str]) -> list[str] | None:
    """The first service that knows a package of which each knows."""
    probe = {PROBE: pinned[PROBE]}
    return next((each for each in services() if (found := audit(probe, each)) and not found.unknown), None)


def main(files: Sequence[Path]) -> int:
    batches = pins(files)
    service = answering(batches[0])
    if service is None:
        print(NOTE, file=sys.stderr)
        return 1 if "OSV_URL" in os.environ else 0
    found = [audit(each, service) for each in batches]
    if None in found:
        print("the advisory service stopped answering: not all packages are audited", file=sys.stderr)
        return 1
    vulnerable = [line for each in found if each for line in each.vulnerable]
    unknown = [name for each in found if each for name in each.unknown]
    for line in vulnerable:
        print(line)
    if unknown:
        print(f"not audited, for the advisory service does not know them: {', '.join(unknown)}")
    audited = sum(each.audited for each in found if each)
    print(f"{audited} packages audited, {len(vulnerable)} known vulnerabilities")
    return 1 if vulnerable or unknown else 0


if __name__ == "__main__":
    sys.exit(main(sorted(ROOT.glob("requirements*.txt"))))
