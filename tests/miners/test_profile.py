from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miners import limits, profile
from miners.profile import durable_changes, known_accelerators, registered_profile, tag_list
from miners.serializers import RegisterRequest, UpdateRequest
from poolhub.common.errors import ValidationFailed


def asked(**fields: object) -> RegisterRequest:
    return RegisterRequest(miner_id="m1", api_key="0123456789abcdef", addr="1.2.3.4:5", **fields)


def errors_of(caught) -> list[tuple[str, str]]:
    return [(error.field, error.code) for error in caught.value.errors]


def test_what_is_left_out_has_the_contracts_defaults() -> None:
    assert registered_profile(asked()) == {
        "addr": "1.2.3.4:5", "proto": "http", "gpu_name": "", "gpu_vram": 0.0, "gpu_count": 1, "cpu_cores": 0,
        "ram_gb": 0.0, "price": Decimal(0), "max_parallel": 1, "region": "", "accel": [], "tags": [],
        "capabilities": [], "wallet_address": "",
    }  # fmt: skip


def test_aitbc_names_are_aliases() -> None:
    made = registered_profile(asked(gpu_vram_gb=23.9, base_price=Decimal("0.01"), tags={"cuda": "12.4"}))
    assert (made["gpu_vram"], made["price"], made["tags"]) == (23.9, Decimal("0.01"), ["cuda=12.4"])


def test_the_contracts_own_name_counts_before_its_alias() -> None:
    made = registered_profile(
        asked(gpu_vram=0.0, gpu_vram_gb=8.0, price_token_per_ksec=Decimal(0), base_price=Decimal(1))
    )
    assert (made["gpu_vram"], made["price"]) == (0.0, Decimal(0))


def test_a_price_keeps_eight_places() -> None:
    assert registered_profile(asked(base_price=Decimal("0.123456785")))["price"] == Decimal("0.12345678")


@pytest.mark.parametrize(
    ("tags", "want"),
    [
        ({"cuda": "12.4"}, ["cuda=12.4"]),
        ({"gpus": 2, "nvlink": True, "tdp": 1.5}, ["gpus=2", "nvlink=true", "tdp=1.5"]),
        ({"rack": ""}, ["rack="]),
        (["a", "b", "a"], ["a", "b"]),
        ({}, []),
    ],
)
def test_tags_become_a_list(tags, want) -> None:
    assert tag_list(tags) == (want, [])


def test_a_tag_that_its_object_makes_too_long_is_refused() -> None:
    with pytest.raises(ValidationFailed) as caught:
        registered_profile(asked(tags={"k" * 40: "v" * 40}))
    assert errors_of(caught) == [(f"tags.{'k' * 40}", "too_long")]


@pytest.mark.parametrize(
    ("tags", "capabilities", "want"),
    [
        (["rocm", "fast"], [], ["rocm"]),
        (["cuda=12.4"], [], ["cuda"]),
        (["cuda="], [], ["cuda"]),
        (["cuda=unknown"], [], []),
        (["platform=CPU", "x=cuda", "cudax", "CUDA"], [], []),
        ([], ["vulkan"], ["vulkan"]),
        ([], ["cuda=12.4"], []),  # only a tag has a key and a value
        (["cpu", "tpu=v5"], ["cpu", "metal"], ["cpu", "tpu", "metal"]),
    ],
)
def test_accelerators_are_told_from_tags_and_capabilities(tags, capabilities, want) -> None:
    assert known_accelerators(tags, capabilities) == want


def test_accelerators_that_are_named_are_not_told() -> None:
    assert registered_profile(asked(tags=["cuda"], accel=["metal", "metal"]))["accel"] == ["metal"]
    assert registered_profile(asked(tags=["cuda"], accel=[]))["accel"] == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"gpu_name": "RTX\n4090"}, "gpu_name"),
        ({"region": "eu\x7f"}, "region"),
        ({"wallet_address": "0x\u202e21"}, "wallet_address"),
        ({"tags": ["fine", "un\u2066fine"]}, "tags[1]"),
        ({"tags": {"k": "\x85"}}, "tags[0]"),
        ({"capabilities": ["\u200f"]}, "capabilities[0]"),
        ({"accel": ["\x1b[31m"]}, "accel[0]"),
    ],
)
def test_characters_that_nobody_can_see_are_refused(fields, named) -> None:
    with pytest.raises(ValidationFailed) as caught:
        registered_profile(asked(**fields))
    assert errors_of(caught) == [(named, "invalid_character")]


def test_every_field_has_its_own_error() -> None:
    with pytest.raises(ValidationFailed) as caught:
        registered_profile(asked(region="\x00", gpu_name="\x01", tags=["\x02", "\x03"]))
    assert errors_of(caught) == [(name, "invalid_character") for name in ("gpu_name", "region", "tags[0]")]


def test_other_scripts_are_fine() -> None:
    assert registered_profile(asked(gpu_name="Графика 显卡 é", tags=["🚀"]))["gpu_name"] == "Графика 显卡 é"


def test_an_update_changes_only_what_it_names() -> None:
    assert durable_changes(UpdateRequest(queue_len=3, busy=True)) == {}
    assert durable_changes(UpdateRequest(draining=False)) == {"draining": False}
    assert durable_changes(UpdateRequest(tags=[], capabilities=["c"], price_token_per_ksec=Decimal("0.5"))) == {
        "price": Decimal("0.5"), "tags": [], "capabilities": ["c"],
    }  # fmt: skip


@given(st.lists(st.text(max_size=8)), st.lists(st.sampled_from([*limits.ACCELERATORS, "other"])))
def test_told_accelerators_are_known_and_unlike(tags, capabilities) -> None:
    told = known_accelerators(tags, capabilities)
    assert set(told) <= set(limits.ACCELERATORS)
    assert len(told) == len(set(told))
    assert set(told) >= set(capabilities) & set(limits.ACCELERATORS)


@given(st.decimals(min_value=0, max_value=10**9, places=12))
def test_a_price_is_rounded_once(price) -> None:
    once = profile.exact(price)
    assert profile.exact(once) == once
    assert abs(once - price) <= Decimal("0.000000005")
