"""One name for one model, and for one region."""

import pytest

from market.names import MAX_NAME, model_of, region_of, wider

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("4090", ["NVIDIA GeForce RTX 4090", "RTX 4090", "4090", "rtx4090", "GeForce RTX™ 4090", "RTX_4090", "rtx-4090 24GB",
                  "NVIDIA GeForce RTX 4090 24 GB", "2x RTX 4090", "8 x NVIDIA RTX 4090", "RTX 4090 Founders Edition"]),
        ("4090 laptop", ["NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 laptop"]),
        ("3080 ti", ["RTX 3080 Ti", "3080ti", "NVIDIA GeForce RTX 3080 Ti"]),
        ("4070 super", ["RTX 4070 SUPER", "RTX4070Super"]),
        ("1080 ti", ["GTX 1080 Ti", "GTX1080Ti"]),
        ("7900 xtx", ["AMD Radeon RX 7900 XTX", "RX7900XTX"]),
        ("a100 80gb", ["NVIDIA A100-SXM4-80GB", "A100 80GB PCIe", "a100 80 GB", "A100 SXM 80GiB"]),
        ("a100 40gb", ["NVIDIA A100-PCIE-40GB"]),
        ("h100", ["NVIDIA H100 PCIe", "H100 SXM5", "Tesla H100"]),
        ("mi300x", ["AMD Instinct MI300X", "mi300x OAM"]),
        ("a6000", ["NVIDIA RTX A6000", "RTX A6000"]),
        ("6000 ada generation", ["NVIDIA RTX 6000 Ada Generation"]),
        ("v100 16gb", ["Tesla V100-SXM2-16GB"]),
        ("", ["", "  ", "™", "×"]),
    ],
)  # fmt: skip
def test_spellings_of_one_model_are_one_name(model, names) -> None:
    assert {name: model_of(name) for name in names} == dict.fromkeys(names, model)


def test_a_normal_form_is_its_own() -> None:
    for name in ("4090", "3080 ti", "a100 80gb", "4090 laptop", "nvidia", "mi300x"):
        assert model_of(model_of(name)) == model_of(name)


def test_a_name_of_nothing_but_noise_keeps_it() -> None:
    assert model_of("NVIDIA Graphics") == "nvidia graphics"


def test_a_long_name_is_cut() -> None:
    assert len(model_of("x" * 1000)) == MAX_NAME


@pytest.mark.parametrize(
    ("given", "region"), [("EU West", "eu-west"), ("us_east_1", "us-east-1"), (" eu ", "eu"), ("", "")]
)
def test_regions_are_lower_case_with_hyphens(given, region) -> None:
    assert region_of(given) == region


def test_the_regions_around_a_region_come_nearest_first() -> None:
    assert wider("eu-west-1") == ["eu-west-1", "eu-west", "eu"]
    assert wider("") == []
