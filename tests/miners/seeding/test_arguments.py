import pytest

from miners.seeding.arguments import BadArgument, base_url, duration_s, regions, whole

pytestmark = pytest.mark.pure


def count(given: object) -> int:
    return whole("--count", given, low=1, high=100, default=10)


@pytest.mark.parametrize(("given", "want"), [(None, 10), ("1", 1), ("100", 100), (7, 7)])
def test_a_whole_number(given, want) -> None:
    assert count(given) == want


@pytest.mark.parametrize("given", ["0", "101", "x", "1.5", "", "-1", "1e1", "٣", True, 1.0, "9" * 5000])
def test_no_whole_number_in_range_is_refused_with_the_range(given) -> None:
    with pytest.raises(BadArgument, match="--count must be a whole number from 1 to 100"):
        count(given)


@pytest.mark.parametrize(("given", "want"), [(None, None), ("0.5", 0.5), (3, 3.0), ("1e2", 100.0)])
def test_a_duration(given, want) -> None:
    assert duration_s(given) == want


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "x", "1e12"])
def test_no_duration_is_refused(given) -> None:
    with pytest.raises(BadArgument, match="--duration"):
        duration_s(given)


@pytest.mark.parametrize(
    "given", ["eu-west,us-east", ["eu-west", "us-east"], ["eu-west, us-east"], ["us-east,", "eu-west"]]
)
def test_regions_stand_apart_by_spaces_or_commas(given) -> None:
    assert [place.region for place in regions(given)] == ["eu-west", "us-east"]


@pytest.mark.parametrize("given", ["", [], [","]])
def test_no_region_named_is_refused(given) -> None:
    with pytest.raises(BadArgument, match="names no region"):
        regions(given)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("http://hub:1/", "http://hub:1"),
        ("https://hub.example.org", "https://hub.example.org"),
        ("https://hub.example.org/pool/", "https://hub.example.org/pool"),
        ("http://[::1]:8203", "http://[::1]:8203"),
    ],
)
def test_a_base(given, want) -> None:
    assert base_url(given, host="", port=0) == want


@pytest.mark.parametrize(
    "given", ["ftp://x", "hub:8203", "http://", "http://x:99999", "http://x:0", "http://x?a=1", "http://[::1", ""]
)
def test_no_base_is_refused(given) -> None:
    with pytest.raises(BadArgument, match="--base must be like"):
        base_url(given, host="127.0.0.1", port=8203)


@pytest.mark.parametrize(
    ("host", "want"),
    [
        ("127.0.0.1", "http://127.0.0.1:8203"),
        ("0.0.0.0", "http://127.0.0.1:8203"),  # noqa: S104
        ("::", "http://[::1]:8203"),
        ("hub.internal", "http://hub.internal:8203"),
    ],
)
def test_left_out_it_is_where_the_hub_of_these_settings_listens(host, want) -> None:
    assert base_url(None, host=host, port=8203) == want


def test_left_out_with_a_port_that_nobody_knows_it_is_asked_for() -> None:
    with pytest.raises(BadArgument, match="--base"):
        base_url(None, host="127.0.0.1", port=0)
