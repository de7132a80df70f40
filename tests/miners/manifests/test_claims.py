"""Where a claim is found, and what it becomes."""

from typing import get_type_hints

import pytest

from miners.manifests.claims import FIELDS, MISSING, Values, claim_at, values_of
from miners.registry.records import Attested
from miners.serializers import RegisterRequest

pytestmark = pytest.mark.pure

CLAIMS = {"a": 1, "a/b": 2, "/c": 3, "d": {"e": [10, {"f": 20}], "": 30, "~": 40, "g/h": 50}, "n": None}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a", 1), ("a/b", 2), ("/a~1b", 2), ("/~1c", 3), ("/d/e/0", 10), ("/d/e/1/f", 20), ("/d/", 30), ("/d/~0", 40),
        ("/d/g~1h", 50), ("n", None), ("#d", 4), ("#/d/e", 2), ("#a", MISSING), ("#x", MISSING), ("x", MISSING),
        ("/d/x", MISSING), ("/d/e/2", MISSING), ("/d/e/-1", MISSING), ("/d/e/00", MISSING), ("/a/b", MISSING), ("d.e", MISSING),
    ],
)  # fmt: skip
def test_a_path_finds_a_claim(path, wanted) -> None:
    assert claim_at(CLAIMS, path) is wanted or claim_at(CLAIMS, path) == wanted


def test_values_are_within_the_bounds_that_a_registration_has() -> None:
    mine, theirs = (get_type_hints(each, include_extras=True) for each in (Values, RegisterRequest))
    for name in FIELDS:
        assert mine[name] == theirs[name] | None, name


def test_the_registry_holds_every_value_that_can_be_attested() -> None:
    assert set(Attested.__dataclass_fields__) == set(FIELDS)


def test_values_come_from_where_the_mapping_says() -> None:
    claims = {"hwmodel": "GH100", "mem": {"gb": 80.0}, "submods": {"GPU-0": 1, "GPU-1": 1}, "caps": ["a", "b", "a"]}
    mapping = {
        "gpu_name": "hwmodel",
        "gpu_vram": "/mem/gb",
        "gpu_count": "#submods",
        "capabilities": "caps",
        "region": "x",
    }
    assert values_of(claims, mapping) == {
        "gpu_name": "GH100", "gpu_vram": 80.0, "gpu_count": 2, "capabilities": ["a", "b"],
    }  # fmt: skip


def test_a_whole_number_may_be_written_with_a_point_and_null_says_nothing() -> None:
    assert values_of({"gpu_count": 2.0, "region": None}, {"gpu_count": "gpu_count", "region": "region"}) == {
        "gpu_count": 2
    }


def test_a_value_of_zero_or_of_nothing_is_a_value() -> None:
    claims = {"gpu_count": 0, "accel": [], "region": ""}
    assert values_of(claims, {name: name for name in claims}) == claims
