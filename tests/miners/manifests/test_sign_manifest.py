"""manage.py sign_manifest"""

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from miners.manifests.keys import public_keys
from miners.manifests.signing import SIGNERS
from miners.manifests.verify import verify
from poolhub.common import clock
from tests.miners.manifests.builders import key, policy

pytestmark = pytest.mark.pure


def run(*args: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("sign_manifest", *args, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue().strip()


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_what_it_signs_is_believed_with_the_keys_that_it_prints(tmp_path, algorithm) -> None:
    file = f"--key={tmp_path / 'key.json'}"
    keys = public_keys(json.loads(run(file, "--jwks", f"--alg={algorithm}")))
    token = run(file, "--miner=m1", "--lifetime=60", '--claims={"gpu_vram": 80}')
    asked = policy(keys=keys)
    found = verify(token, {asked.issuer: asked}.get, miner_id="m1", now=clock.now())
    assert found.values == {"gpu_vram": 80}
    assert found.expires_at - found.issued_at == 60
    assert run(file, "--miner=m1") != token  # a jti of its own each time


def test_the_key_is_kept_readable_by_its_owner_alone(tmp_path) -> None:
    path = tmp_path / "key.json"
    first = run(f"--key={path}", "--jwks")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run(f"--key={path}", "--jwks") == first
    assert json.loads(path.read_text())["d"] not in first


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", json.dumps(key().as_dict(private=False)), '{"kty": "oct", "k": "AA"}']
)
def test_a_file_that_is_no_private_key_is_said_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    with pytest.raises(CommandError, match=r"key\.json"):
        run(f"--key={path}", "--jwks")
    assert path.read_text() == text


@pytest.mark.parametrize("args", [(), ("--miner=m1", "--claims=["), ("--miner=m1", "--claims=3")])
def test_bad_arguments_are_said_so(tmp_path, args) -> None:
    with pytest.raises(CommandError):
        run(f"--key={tmp_path / 'key.json'}", *args)
