"""What a miner reports of its load, in the form the registry applies; pure. Here nan means: reported as unknown."""

from math import nan

from miners.liveness import ordering_ts
from miners.registry.records import Report
from miners.serializers import Heartbeat, HeartbeatRequest, UpdateRequest
from poolhub.common.errors import FieldError, ValidationFailed

ACTIVE = "active"
NOT_MEASURED = -1
MB_PER_GB = 1024


def update_report(request: UpdateRequest, *, now: float) -> Report:
    return Report(
        at=now,
        queue_len=request.queue_len,
        busy=request.busy,
        jobs=None if request.current_jobs is None else len(request.current_jobs),
        latency_ms=request.avg_latency_ms,
        temp_c=request.temp_c,
        mem_free_gb=request.mem_free_gb,
    )


def heartbeat_report(request: HeartbeatRequest, *, now: float) -> Report:
    jobs, queue_len, busy = request.current_jobs, request.queue_len, request.busy
    if isinstance(jobs, int):
        queue_len, jobs = (jobs if queue_len is None else queue_len), None
    if busy is None and request.status is not None:
        busy = request.status != ACTIVE
    latency_ms = request.avg_latency_ms
    return Report(
        at=now,
        queue_len=queue_len,
        busy=busy,
        jobs=None if jobs is None else len(jobs),
        latency_ms=_measured(request.network_latency_ms) if latency_ms is None else latency_ms,
        temp_c=request.temp_c,
        mem_free_gb=_memory_free(request) if request.mem_free_gb is None else request.mem_free_gb,
    )


def socket_report(beat: Heartbeat, ts: float, *, now: float) -> Report:
    return Report(
        at=now,
        ts=ordering_ts(ts, now),
        queue_len=beat.queue_len,
        busy=beat.busy,
        jobs=None if beat.current_jobs is None else len(beat.current_jobs),
        latency_ms=beat.avg_latency_ms,
        temp_c=beat.temp_c,
        mem_free_gb=beat.mem_free_gb,
    )


def _measured(latency_ms: float | None) -> float | None:
    if latency_ms is None or latency_ms >= 0:
        return latency_ms
    if latency_ms == NOT_MEASURED:
        return nan
    error = FieldError("network_latency_ms", "out_of_range", "a latency is 0 or more, or -1 where it was not measured")
    raise ValidationFailed(errors=[error])


def _memory_free(request: HeartbeatRequest) -> float | None:
    total, used = request.memory_total, request.memory_used
    if total is None:
        return None
    if total == 0:
        return nan
    return None if used is None else max(0.0, total - used) / MB_PER_GB
