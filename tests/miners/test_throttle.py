from hypothesis import given
from hypothesis import strategies as st

from miners.throttle import TokenBucket, TokenBuckets


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(10, 50, now=0.0)
    assert [bucket.take(0.0) for _ in range(51)] == [True] * 50 + [False]
    assert not bucket.take(0.09)  # 0.9 of a message
    assert bucket.take(0.11)
    assert not bucket.take(0.11)


def test_ten_a_second_are_borne_for_ever() -> None:
    bucket = TokenBucket(10, 50, now=0.0)
    assert all(bucket.take(i / 10) for i in range(10_000))


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(10, 2, now=100.0)
    assert [bucket.take(100.0), bucket.take(0.0), bucket.take(0.0)] == [True, True, False]


@given(st.lists(st.floats(0, 10), max_size=200))
def test_never_more_than_burst_and_rate_allow(pauses) -> None:
    bucket, now, taken = TokenBucket(10, 50, now=0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
    assert taken <= 50 + 10 * now + 1e-6


def test_each_name_has_a_bucket_of_its_own_and_the_oldest_go() -> None:
    buckets = TokenBuckets(10, 2, size=2)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("b", 0.0)
    assert not buckets.take("a", 0.0)
    assert buckets.take("c", 0.0)  # b was used longest ago
    assert len(buckets) == 2
    assert not buckets.take("a", 0.0)
