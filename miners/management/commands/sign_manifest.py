"""A manifest of an issuer's own making, to try one out with: the key in a file, the token on the standard output."""

import json
import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from miners.manifests.keys import BadKeys, Key
from miners.manifests.signing import SIGNERS, key_make, key_read, key_set, key_text, manifest_sign
from poolhub.common import clock

LIFETIME_S = 3600


class Command(BaseCommand):
    help = (
        "Sign a manifest with a private key in a file (JWK), which is made where it is not there. Prints the token; "
        "with --jwks instead the public keys, for the issuer's page in the admin. For trying out: an issuer that is "
        "trusted with a real pool keeps its key on a machine of its own."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--key", required=True, metavar="FILE", help="the private key, readable by its owner alone")
        parser.add_argument("--alg", default="ES256", choices=SIGNERS, help="of a key that is made (default ES256)")
        parser.add_argument("--jwks", action="store_true", help="print the public keys, and sign nothing")
        parser.add_argument("--issuer", default="https://issuer.example", help="iss (default https://issuer.example)")
        parser.add_argument("--miner", metavar="MINER_ID", help="sub")
        parser.add_argument("--lifetime", type=int, default=LIFETIME_S, metavar="SECONDS", help="default 3600")
        parser.add_argument(
            "--claims",
            default="{}",
            metavar="JSON",
            help='what is attested: {"gpu_name": "H100", "gpu_vram": 80}',
        )

    def handle(self, *args: Any, **options: Any) -> None:
        key = self.key(Path(options["key"]), options["alg"])
        if options["jwks"]:
            self.stdout.write(json.dumps(key_set(key)))
            return
        if not options["miner"]:
            raise CommandError("name the miner: --miner MINER_ID")
        now = int(clock.now())
        named = {"iss": options["issuer"], "sub": options["miner"], "jti": secrets.token_hex(16), "iat": now}
        claims = {**named, "exp": now + options["lifetime"], **self.claims(options["claims"])}
        self.stdout.write(manifest_sign(claims, key))

    def key(self, path: Path, algorithm: str) -> Key:
        try:
            if path.exists():
                return key_read(path.read_text())
            made = key_make(algorithm)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(key_text(made))
        except (OSError, UnicodeDecodeError, BadKeys) as error:
            raise CommandError(f"{path}: {error}") from error
        self.stderr.write(f"made a key for {algorithm} in {path}")
        return made

    def claims(self, text: str) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise CommandError(f"--claims: {error}") from error
        if not isinstance(found, dict):
            raise CommandError("--claims: it must be a JSON object")
        return found
