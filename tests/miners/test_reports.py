import pytest

from miners.liveness import next_heartbeat_s, ordering_ts, whole
from miners.registry.records import Report
from miners.reports import heartbeat_report, socket_report, update_report
from miners.serializers import Heartbeat, HeartbeatRequest, UpdateRequest
from poolhub.common.errors import ValidationFailed

NOW = 1_800_000_000.0


def test_an_update_reports_what_it_names() -> None:
    assert update_report(UpdateRequest(), now=NOW) == Report(at=NOW)
    report = update_report(
        UpdateRequest(
            queue_len=2, busy=False, current_jobs=["a", "b", "c"], avg_latency_ms=5, temp_c=-3, mem_free_gb=0
        ),
        now=NOW,
    )
    assert report == Report(at=NOW, queue_len=2, busy=False, jobs=3, latency_ms=5, temp_c=-3, mem_free_gb=0)


def test_the_body_of_the_aitbc_client() -> None:
    report = heartbeat_report(
        HeartbeatRequest(
            status="active", current_jobs=2, memory_used=4096, memory_total=24576, network_latency_ms=12.5
        ),
        now=NOW,
    )
    assert report == Report(at=NOW, queue_len=2, busy=False, latency_ms=12.5, mem_free_gb=20.0)  # (24576 - 4096) / 1024


@pytest.mark.parametrize(("status", "busy"), [("active", False), ("paused", True), ("", True), (None, None)])
def test_a_status_other_than_active_is_busy(status, busy) -> None:
    assert heartbeat_report(HeartbeatRequest(status=status), now=NOW).busy is busy


def test_minus_one_and_a_total_of_zero_are_unknown() -> None:
    report = heartbeat_report(HeartbeatRequest(memory_used=0, memory_total=0, network_latency_ms=-1.0), now=NOW)
    assert repr((report.latency_ms, report.mem_free_gb)) == "(nan, nan)"


def test_memory_needs_both_numbers_and_is_never_negative() -> None:
    assert heartbeat_report(HeartbeatRequest(memory_used=10), now=NOW).mem_free_gb is None
    assert heartbeat_report(HeartbeatRequest(memory_total=10), now=NOW).mem_free_gb is None
    assert heartbeat_report(HeartbeatRequest(memory_used=20, memory_total=10), now=NOW).mem_free_gb == 0


@pytest.mark.parametrize("latency", [-0.5, -0.999])
def test_no_other_negative_latency_is_understood(latency) -> None:
    with pytest.raises(ValidationFailed) as caught:
        heartbeat_report(HeartbeatRequest(network_latency_ms=latency), now=NOW)
    assert [error.field for error in caught.value.errors] == ["network_latency_ms"]


def test_the_contracts_own_names_count_before_aitbcs() -> None:
    report = heartbeat_report(
        HeartbeatRequest(
            queue_len=1, current_jobs=5, busy=True, status="active", avg_latency_ms=7, network_latency_ms=-1,
            mem_free_gb=3, memory_total=0,
        ),
        now=NOW,
    )  # fmt: skip
    assert report == Report(at=NOW, queue_len=1, busy=True, latency_ms=7, mem_free_gb=3)


def test_jobs_by_name_are_counted() -> None:
    report = heartbeat_report(HeartbeatRequest(current_jobs=["a", "b"]), now=NOW)
    assert (report.queue_len, report.jobs) == (None, 2)


@pytest.mark.parametrize(("off", "orders"), [(0, True), (60, True), (-60, True), (60.001, False), (-3600, False)])
def test_a_ts_orders_within_a_minute_of_the_hubs_clock(off, orders) -> None:
    assert ordering_ts(NOW + off, NOW) == (NOW + off if orders else None)
    assert socket_report(Heartbeat(ts="", queue_len=1), NOW + off, now=NOW).ts == (NOW + off if orders else None)


def test_whole_seconds_are_written_without_a_point() -> None:
    assert (next_heartbeat_s(60.0), whole(60.0), whole(0.5)) == (20, 60, 0.5)
    assert isinstance(whole(60.0), int)
