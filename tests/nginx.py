"""An nginx of a test's own, in front of whatever the site names."""

import datetime as dt
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from poolhub import nginx

MISSING = "nginx is missing: `apt-get install nginx-light` as root, which .ci/run does by itself"
LIMIT_S = 10


def written(site: nginx.Site, folder: Path) -> Path:
    """A whole configuration with this site."""
    assert nginx.binary() is not None, MISSING
    site_file, main_file = folder / "site.conf", folder / "nginx.conf"
    site_file.write_text(nginx.rendered(site))
    main_file.write_text(nginx.standalone(site_file, folder))
    return main_file


def complaints(site: nginx.Site, folder: Path) -> str:
    """What `nginx -t` says; it must find the configuration good."""
    command = [*nginx.command(written(site, folder)), "-t"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    return "\n".join(line for line in lines if not line.endswith(("syntax is ok", "test is successful")))


@contextmanager
def running(site: nginx.Site, folder: Path) -> Iterator[None]:
    log = folder / "nginx.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(nginx.command(written(site, folder)), stdout=sink, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + LIMIT_S
        while not (folder / "nginx.pid").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def certificate(folder: Path) -> nginx.Certificate:
    """Self-signed, for localhost; on ports that the caller fills in."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return nginx.Certificate(str(files[0]), str(files[1]))
