"""Reports on their way between processes: fixed binary records, in batches that name their writer and its count.

A record carries what one report named, the hub's time of it, and how many slots the ledger counted for the miner then.
Applied in any order and any number of times, the same records leave the same columns: of each field the newest wins
(see `merging`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from miners.registry.records import Report

Beats: TypeAlias = NDArray[np.void]
Beat: TypeAlias = tuple[int, float, float, float, float, float, int, int, int, int]

BEAT = np.dtype(
    [
        ("pk", "<u8"),  # of the miner in the database: given once, never again
        ("at", "<f8"),  # hub time, epoch seconds
        ("ts", "<f8"),  # the miner's own time
        ("latency_ms", "<f8"),
        ("mem_free_gb", "<f8"),
        ("temp_c", "<f4"),
        ("queue_len", "<u4"),
        ("jobs", "<u4"),
        ("own", "<u2"),  # the ledger's count at the time of the report
        ("named", "<u2"),  # which fields count, and whether the miner is busy
    ]
)
TS, QUEUE, JOBS, BUSY, IS_BUSY, LATENCY, TEMP, MEM = (1 << i for i in range(8))

FORMAT = 1
HEAD = Struct("<HxxxxxxQQQ")  # format, writer, seq, told
MAX_OWN = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Batch:
    writer: int  # drawn at random by each process
    seq: int  # 1, 2, 3 … of that writer; a jump means that batches were lost
    told: int  # events that the writer had published before
    beats: Beats


class UnknownFormat(ValueError):
    """Written by a version of the hub that this one does not understand."""


def beat_of(pk: int, report: Report, at: float, own: int) -> Beat:
    named = 0
    if report.ts is not None:
        named |= TS
    if report.queue_len is not None:
        named |= QUEUE
    if report.jobs is not None:
        named |= JOBS
    if report.busy is not None:
        named |= BUSY | IS_BUSY if report.busy else BUSY
    if report.latency_ms is not None:
        named |= LATENCY
    if report.temp_c is not None:
        named |= TEMP
    if report.mem_free_gb is not None:
        named |= MEM
    return (
        pk, at, report.ts or 0.0, report.latency_ms or 0.0, report.mem_free_gb or 0.0, report.temp_c or 0.0,
        report.queue_len or 0, report.jobs or 0, min(own, MAX_OWN), named,
    )  # fmt: skip


def pack(writer: int, seq: int, told: int, beats: Sequence[Beat] | Beats) -> bytes:
    records = beats if isinstance(beats, np.ndarray) else np.array(beats, BEAT)
    return HEAD.pack(FORMAT, writer, seq, told) + records.tobytes()


def unpack(data: bytes) -> Batch:
    """UnknownFormat for anything that `pack` of this version did not write."""
    if len(data) < HEAD.size or (len(data) - HEAD.size) % BEAT.itemsize:
        raise UnknownFormat(f"{len(data)} bytes are no batch")
    version, writer, seq, told = HEAD.unpack_from(data)
    if version != FORMAT:
        raise UnknownFormat(f"format {version}")
    return Batch(writer, seq, told, np.frombuffer(data, BEAT, offset=HEAD.size))
