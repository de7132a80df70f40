"""The audit fails on a known vulnerability, and never says of what was not audited that it was."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.hub import ROOT
from tests.security import advisories

pytestmark = pytest.mark.pure
ADVISORY = {
    "id": "PYSEC-2019-1",
    "summary": "planted",
    "affected": [{
        "package": {"name": "jinja2", "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.10.1"}]}],
    }],
}  # fmt: skip


class Osv(ThreadingHTTPServer):
    """Knows one vulnerability, and breaks down at a package named broken."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: set[str] = set()


class Answering(BaseHTTPRequestHandler):
    server: Osv

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = asked["package"]["name"], asked["version"]
        self.server.asked.add(name)
        told = json.dumps({"vulns": [ADVISORY]} if (name, version) == ("jinja2", "2.9") else {}).encode()
        self.send_response(500 if name == "broken" else 200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nobody reads it."""


@pytest.fixture
def osv(monkeypatch) -> Iterator[Osv]:
    with Osv() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        monkeypatch.setenv("OSV_URL", f"http://127.0.0.1:{server.server_port}/v1/query")
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address that refuses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def pinned(tmp_path):
    def write(*pins: str):
        file = tmp_path / "requirements.txt"
        file.write_text("".join(f"{pin} \\\n    --hash=sha256:{'0' * 64}\n" for pin in ("django==5.2.19", *pins)))
        return [file]

    return write


def test_a_known_vulnerability_fails(osv, pinned, capsys) -> None:
    assert advisories.main(pinned("jinja2==2.9", "idna==3.20")) == 1
    assert capsys.readouterr().out == (
        "jinja2 2.9: PYSEC-2019-1, mended in 2.10.1\n3 packages audited, 1 known vulnerabilities\n"
    )


def test_without_one_it_says_how_much_was_audited(osv, pinned, capsys) -> None:
    assert advisories.main(pinned("jinja2==2.10.1", 'winonly==1.0 ; sys_platform == "win32"')) == 0
    assert capsys.readouterr().out == "3 packages audited, 0 known vulnerabilities\n"
    assert osv.asked == {"django", "jinja2", "winonly"}


def test_a_service_that_breaks_down_on_the_way_fails(osv, pinned, capsys) -> None:
    assert advisories.main(pinned("broken==1.0")) == 1
    assert capsys.readouterr() == ("", "the advisory service stopped answering: not all packages are audited\n")


def test_a_service_that_is_named_has_to_answer(nowhere, pinned, monkeypatch, capsys) -> None:
    monkeypatch.setenv("OSV_URL", f"{nowhere}/v1/query")
    assert advisories.main(pinned()) == 1
    assert "NOT AUDITED" in capsys.readouterr().err


def test_a_machine_without_any_service_passes_and_claims_nothing(nowhere, pinned) -> None:
    environment = {"HTTPS_PROXY": nowhere, "https_proxy": nowhere, "PATH": "/usr/bin:/bin"}
    code = f"import sys, pathlib; from tests.security import advisories as a; sys.exit(a.main([pathlib.Path({str(pinned()[0])!r})]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "NOT AUDITED" in done.stderr


def test_what_a_service_does_not_know_is_not_audited() -> None:
    """What pip-audit says behind a mirror of PyPI, where it ends with 0."""
    report = {"dependencies": [{"name": "django", "skip_reason": "Dependency not found on PyPI"}], "fixes": []}
    assert advisories.read(json.dumps(report)) == advisories.Audit(audited=0, unknown=["django"], vulnerable=[])


def test_every_pinned_version_is_asked_for_once(tmp_path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text(
        'numpy==2.4.6 ; python_version < "3.12" \\\n    --hash=sha256:0\nnumpy==2.5.0 ; python_version > "3.12"\n'
    )
    second.write_text("numpy==2.4.6 \\\n    --hash=sha256:0\nidna==3.20\n# idna==1.0\n")
    assert advisories.pins([first, second]) == [{"numpy": "2.4.6", "idna": "3.20"}, {"numpy": "2.5.0"}]


def test_every_requirement_of_the_hub_is_asked_for() -> None:
    files = sorted(ROOT.glob("requirements*.txt"))
    lines = {line.split()[0] for file in files for line in file.read_text().splitlines() if "==" in line}
    assert {f"{name}=={version}" for each in advisories.pins(files) for name, version in each.items()} == lines
    assert advisories.PROBE in advisories.pins(files)[0]
