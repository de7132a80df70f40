import pytest

from miners.seeding.places import PLACES, UnknownRegion, places

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("asked", "want"),
    [
        (["eu-west"], ["eu-west"]),
        (["us"], ["us-central", "us-east", "us-west"]),
        (["us-east", "us"], ["us-central", "us-east", "us-west"]),
        (["us-west", "eu-west"], ["eu-west", "us-west"]),
        (["eu-west-1"], ["eu-west-1"]),  # a zone is a region of its own …
        (["eu-west-1", "eu-west"], ["eu-west", "eu-west-1"]),
    ],
)
def test_a_word_takes_regions_as_a_match_does(asked, want) -> None:
    assert [place.region for place in places(asked)] == want


def test_a_zone_is_where_its_region_is() -> None:
    zone, region = places(["eu-west-1"])[0], places(["eu-west"])[0]
    assert (zone.latency_ms, zone.price_level, zone.utc_offset_h) == (
        region.latency_ms, region.price_level, region.utc_offset_h,
    )  # fmt: skip


def test_no_word_takes_all() -> None:
    assert places([]) == PLACES


@pytest.mark.parametrize(
    "word", ["mars", "e", "eu-", "euro", "eu-west-", "eu-west-\n1", "EU", "eu-west-" + 17 * "1", ""]
)
def test_an_unknown_word_is_refused_and_the_known_ones_are_named(word) -> None:
    with pytest.raises(UnknownRegion, match="eu-central"):
        places([word])
