"""A PostgreSQL that stands still: who serves does not wait for it."""

import os
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.db import OperationalError, connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from poolhub.common.postgres import patience
from tests.proxy import Proxy, proxy

pytestmark = pytest.mark.skipif(not os.environ.get("TEST_DB_DSN"), reason="it is of PostgreSQL alone")

SOON_S = patience.LOOK_S + patience.ANSWER_S + 1.0


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    patience.serve()
    yield
    patience.serve(impatient=False)
    patience.breaker.worked()


@pytest.fixture
def line() -> Iterator[Proxy]:
    at = conninfo_to_dict(os.environ["TEST_DB_DSN"])
    host, port = str(at.get("host") or "127.0.0.1"), int(str(at.get("port") or 5432))
    with proxy(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)) as between:
        yield between


def connected(line: Proxy) -> patience.ImpatientConnection:
    at = {**conninfo_to_dict(os.environ["TEST_DB_DSN"]), "host": "127.0.0.1", "port": line.port}
    return patience.ImpatientConnection.connect(make_conninfo(**at), autocommit=True)


def test_a_statement_that_takes_long_goes_on_while_the_server_answers_others(line) -> None:
    with connected(line) as made:
        assert made.execute("SELECT 1 FROM pg_sleep(%s)", [3 * patience.LOOK_S]).fetchone() == (1,)
    assert not patience.breaker.failing()


def test_a_statement_on_a_server_that_stands_still_fails_soon_and_so_do_those_beside_it(line) -> None:
    made = [connected(line) for _ in range(4)]
    line.hang()
    failed: list[float] = []

    def ask(one: patience.ImpatientConnection) -> None:
        begun = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="stands still"):
            one.execute("SELECT 1")
        failed.append(time.monotonic() - begun)

    threads = [threading.Thread(target=ask, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 4
    assert max(failed) < SOON_S  # not one after another
    assert all(one.closed for one in made)
    assert patience.breaker.failing()


@pytest.mark.django_db(transaction=True)
def test_while_it_stands_still_nobody_waits_to_find_that_out_again() -> None:
    connection.close()
    patience.breaker.failed()
    begun = time.monotonic()
    with pytest.raises(OperationalError, match="a moment ago"):
        connection.cursor()
    assert time.monotonic() - begun < 0.5
    patience.breaker.worked()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_who_does_not_serve_waits(line) -> None:
    patience.serve(impatient=False)
    with connected(line) as made:
        line.hang()
        threading.Timer(SOON_S, line.heal).start()
        assert made.execute("SELECT 1").fetchone() == (1,)
