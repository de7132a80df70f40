"""Many miners by column, on their way into the registry: what MinerRow and LiveStatus are for one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miners.registry.bitmaps import Mask
from miners.registry.columns import INF, NAN
from miners.registry.records import Attested, LiveStatus, MinerRow, PriceWindow

# name, type, and what stands for None
NUMBERS = (
    ("pk", "i8", 0),
    ("version", "i8", 0),
    ("session", "i8", 0),
    ("key_tag", "u8", 0),
    ("gpu_vram", "f8", 0),
    ("gpu_count", "u4", 0),
    ("cpu_cores", "u4", 0),
    ("ram_gb", "f8", 0),
    ("price", "i8", 0),
    ("price_cap", "i8", -1),
    ("max_parallel", "u2", 0),
    ("draining", "?", 0),
    ("operator_drain", "?", 0),
    ("disabled", "?", 0),
    ("logged_out", "?", 0),
    ("trust_s", "f8", 0),
    ("trust_f", "f8", 0),
    ("trust_at", "f8", 0),
    ("latency_mean", "f8", NAN),
    ("latency_count", "u4", 0),
    ("attested_until", "f8", 0),
)
LIVE = (
    ("last_seen", "f8", -INF),
    ("reported_at", "f8", NAN),  # nan = last_seen
    ("ts", "f8", -INF),
    ("queue_len", "u4", 0),
    ("busy", "u1", 0),
    ("jobs", "u4", 0),
    ("own", "u4", 0),
    ("latency_ms", "f8", NAN),
    ("temp_c", "f4", NAN),
    ("mem_free_gb", "f8", NAN),
)
TEXTS = ("miner_id", "addr", "region", "proto", "gpu_name")
LISTS = ("accel", "tags", "capabilities")

Field = tuple[str, str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One element a miner in each; no miner twice."""

    texts: Mapping[str, Sequence[str]]  # TEXTS
    lists: Mapping[str, Sequence[Sequence[str]]]  # LISTS
    numbers: Mapping[str, NDArray[Any]]  # NUMBERS
    overrides: Mapping[int, tuple[PriceWindow, ...]]  # by position, of those who have any
    attested: Mapping[int, Attested]  # likewise; until attested_until
    reported: Mask  # whose live status counts; the others never were heard of
    live: Mapping[str, NDArray[Any]]  # LIVE

    def __len__(self) -> int:
        return len(self.reported)


def column(values: Iterable[Any], field: Field) -> NDArray[Any]:
    _, dtype, none = field
    return np.array([none if value is None else value for value in values], dtype)


def table_of(miners: Iterable[tuple[MinerRow, LiveStatus | None]]) -> Table:
    rows, lives = [], []
    for row, live in miners:
        rows.append(row)
        lives.append(live)
    nobody = LiveStatus(last_seen=-INF)
    heard = [nobody if live is None else live for live in lives]
    return Table(
        texts={name: [getattr(row, name) for row in rows] for name in TEXTS},
        lists={name: [getattr(row, name) for row in rows] for name in LISTS},
        numbers={field[0]: column((getattr(row, field[0]) for row in rows), field) for field in NUMBERS},
        overrides={at: row.overrides for at, row in enumerate(rows) if row.overrides},
        attested={at: row.attested for at, row in enumerate(rows) if row.attested_until},
        reported=np.array([live is not None for live in lives], np.bool_),
        live={field[0]: column((getattr(live, field[0]) for live in heard), field) for field in LIVE},
    )
