"""SQLite, in memory, with capabilities and tags in tables of their own and an index for each way in.

One statement filters, scores, orders and cuts. It does less than the registry: no rejections are counted, no components
come out, state, trust, latency rank and effective price are plain columns, and regions and names are codes already.
`NOT INDEXED` and hints were tried; what is left is the fastest plan found for each kind of job.
"""

import math
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.facts import Facts
from benchmarks.population import GPUS, REGIONS, TAGS, Population, capability_code, miner_id
from matching.scoring.types import Query

SCHEMA = """
CREATE TABLE miner (
    slot INTEGER PRIMARY KEY, id TEXT, region INT, vram REAL, ram REAL, gpus INT, cores INT, accel INT, state REAL,
    price REAL, latency REAL, trust REAL, max_parallel INT, occupied INT, eta REAL
);
CREATE TABLE capability (capability INT, slot INT, PRIMARY KEY (capability, slot)) WITHOUT ROWID;
CREATE TABLE tag (tag INT, slot INT, PRIMARY KEY (tag, slot)) WITHOUT ROWID;
"""
INDEXES = """
CREATE INDEX by_region ON miner (region, vram, price);
CREATE INDEX by_slot ON capability (slot, capability);
ANALYZE;
"""
ACCELERATORS = tuple(sorted({name for gpu in GPUS for name in gpu[2]}))


def rows_of(population: Population, facts: Facts) -> Iterator[tuple[Any, ...]]:
    """The rows of the table `miner`, in the order of its columns."""
    p = population
    accel = [_bits(gpu[2]) for gpu in GPUS]
    return zip(
        range(p.size), map(miner_id, range(p.size)), p.region.tolist(), p.vram_gb.tolist(), p.ram_gb.tolist(),
        p.gpu_count.tolist(), p.cpu_cores.tolist(), [accel[code] for code in p.gpu.tolist()],
        facts.state.tolist(), facts.price.tolist(), facts.latency_score.tolist(), facts.trust.tolist(),
        p.max_parallel.tolist(), p.queue_len.tolist(),
        (None if math.isnan(eta) else eta for eta in facts.eta_ms.tolist()),
        strict=True,
    )  # fmt: skip


def database_of(population: Population, facts: Facts) -> sqlite3.Connection:
    p = population
    database = sqlite3.connect(":memory:")
    database.executescript(SCHEMA)
    with database:
        database.executemany(f"INSERT INTO miner VALUES ({', '.join('?' * 15)})", rows_of(population, facts))
        database.executemany("INSERT INTO capability VALUES (?, ?)", p.capabilities.pairs())
        database.executemany("INSERT INTO tag VALUES (?, ?)", p.tags.pairs())
    database.executescript(INDEXES)
    return database


def prepared(database: sqlite3.Connection, query: Query) -> Callable[[], list[str]]:
    """The text is made once, and SQLite keeps its compiled form."""
    statement = _statement(query)
    return lambda: [row[0] for row in database.execute(statement)]


def _statement(query: Query) -> str:
    asked = query.capabilities_any or query.capabilities_all
    assert not (query.capabilities_any and query.capabilities_all), "one join for what is asked"
    source = "miner m"
    if asked:
        source += f" JOIN capability c ON c.slot = m.slot AND c.capability IN {in_list(map(capability_code, asked))}"
    where = f"WHERE {' AND '.join(conditions_of(query))}"
    having = f" HAVING count(*) = {len(asked)}" if query.capabilities_all else ""
    group = f" GROUP BY m.slot{having}" if asked else ""
    dearest = ""
    if query.max_price is None:
        inner = f"SELECT m.price AS price FROM {source} {where}{group}"
        dearest = f"WITH dearest AS MATERIALIZED (SELECT max(price) AS price FROM ({inner})) "
        source = f"dearest d CROSS JOIN {source}"
    ceiling = "d.price" if query.max_price is None else repr(float(query.max_price))
    cap = f"count(*) / {float(len(asked))}" if asked else "1.0"
    mean = mean_of(query, cap, ceiling, greatest="max")
    return (
        f"{dearest}SELECT m.id, CAST({mean} * m.state * 1000000 + 0.5 AS INTEGER) AS score FROM {source} {where}{group}"
        f" ORDER BY score DESC, m.price, m.id LIMIT {query.top_k}"
    )


def mean_of(query: Query, cap: str, ceiling: str, *, greatest: str) -> str:
    """The weighted mean (contract, section 4)."""
    w, free = query.weights, "(m.max_parallel - m.occupied)"
    return (
        f"({cap} * {w.cap} + {greatest}(1 - m.price / {ceiling}, 0) * {w.price} + m.latency * {w.latency}"
        f" + m.trust * {w.trust} + CAST({free} AS DOUBLE PRECISION) / ({free} + 1) * {w.load})"
        f" / {w.cap + w.price + w.latency + w.trust + w.load}"
    )


def conditions_of(query: Query) -> list[str]:
    found = ["m.state > 0", "m.occupied < m.max_parallel"]
    for column, least in (
        ("vram", query.min_vram_gb), ("ram", query.min_ram_gb), ("gpus", query.min_gpu_count),
        ("cores", query.min_cpu_cores), ("trust", query.min_trust),
    ):  # fmt: skip
        if least is not None:
            found.append(f"m.{column} >= {least}")
    if query.accel:
        bits = _bits(query.accel)
        found.append(f"m.accel & {bits} = {bits}")
    if query.region is not None:
        taken = [
            i for i, (name, _) in enumerate(REGIONS) if name == query.region or name.startswith(query.region + "-")
        ]
        found.append(f"m.region IN {in_list(taken)}")
    if query.tags_any:
        tags = in_list(map(TAGS.index, query.tags_any))
        found.append(f"EXISTS (SELECT 1 FROM tag t WHERE t.slot = m.slot AND t.tag IN {tags})")
    if query.max_price is not None:
        found.append(f"m.price <= {query.max_price}")
    if query.deadline_ms is not None:
        found.append(f"(m.eta IS NULL OR m.eta <= {query.deadline_ms})")
    return found


def _bits(accel: tuple[str, ...]) -> int:
    return sum(1 << ACCELERATORS.index(name) for name in accel)


def in_list(codes: object) -> str:
    return f"({', '.join(map(str, codes))})"  # type: ignore[call-overload]
