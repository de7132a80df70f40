"""Turns of the requests of one REST process, and the refusal of those for which there is none."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from poolhub import gate, parts
from poolhub.common.metrics import REFUSED
from poolhub.gate import Full, Gate, GatedWSGI, Late
from tests.waiting import until

pytestmark = pytest.mark.pure
PATIENT_S, AT_ONCE_S = 30.0, 0.0


def waiting(held: Gate) -> int:
    return len(held._matches) + len(held._others)


@contextmanager
def arriving(held: Gate) -> Iterator[tuple[Callable[..., None], list[str]]]:
    """arrive(name) waits in a thread of its own; the names of those whose turn has come."""
    came: list[str] = []
    with ThreadPoolExecutor(20) as threads:
        made: list[Future[None]] = []

        def wait(name: str, is_match: bool) -> None:
            held.enter(is_match=is_match, wait_s=PATIENT_S)
            came.append(name)

        def arrive(name: str, *, is_match: bool = False) -> None:
            before = waiting(held)
            made.append(threads.submit(wait, name, is_match))
            until(lambda: waiting(held) > before)

        yield arrive, came
    for each in made:
        each.result()


def full_house(**sizes: int) -> Gate:
    """All of those that may work do."""
    held = Gate(**sizes)
    for _ in range(sizes["working"]):
        held.enter(is_match=False, wait_s=AT_ONCE_S)
    return held


def test_turns_come_in_the_order_of_arrival_and_those_of_matches_last() -> None:
    held = full_house(working=1, waiting=9, matches_waiting=9)
    with arriving(held) as (arrive, came):
        arrive("match 1", is_match=True)
        arrive("feedback 1")
        arrive("match 2", is_match=True)
        arrive("feedback 2")
        for number in range(1, 5):
            held.leave()
            until(lambda: len(came) == number)  # noqa: B023 - within its turn of the loop
    assert came == ["feedback 1", "feedback 2", "match 1", "match 2"]


def test_whoever_finds_no_place_to_wait_knows_at_once() -> None:
    held = full_house(working=1, waiting=2, matches_waiting=1)
    with arriving(held) as (arrive, _):
        arrive("match", is_match=True)
        with pytest.raises(Full):
            held.enter(is_match=True, wait_s=PATIENT_S)  # a place is left, which is for others
        arrive("feedback")
        with pytest.raises(Full):
            held.enter(is_match=False, wait_s=PATIENT_S)
        held.leave()
        held.leave()


def test_one_whose_turn_does_not_come_in_time_leaves_and_takes_nobodys_place() -> None:
    held = full_house(working=1, waiting=1, matches_waiting=1)
    for _ in range(3):
        with pytest.raises(Late):
            held.enter(is_match=True, wait_s=0.001)
    held.leave()
    held.enter(is_match=True, wait_s=AT_ONCE_S)


def test_no_more_work_at_once_than_may_and_no_place_is_ever_lost() -> None:
    held, lock = Gate(working=3, waiting=4, matches_waiting=2), threading.Lock()
    now, most, done, refused = 0, 0, 0, 0

    def ask(number: int) -> None:
        nonlocal now, most, done, refused
        for step in range(200):
            try:
                held.enter(is_match=bool((number + step) % 2), wait_s=0.0005)
            except (Full, Late):
                with lock:
                    refused += 1
                continue
            with lock:
                now += 1
                most = max(most, now)
            with lock:
                now -= 1
                done += 1
            held.leave()

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(ask, range(12)))
    assert done + refused == 12 * 200
    assert most <= 3
    assert (held._free, waiting(held)) == (3, 0)


# ---- around the application


def called(application: GatedWSGI, path: str, body: bytes = b"") -> tuple[str, dict[str, str], Any, io.BytesIO]:
    given = io.BytesIO(body)
    environ: dict[str, Any] = {"PATH_INFO": path, "wsgi.input": given, "wsgi.input_terminated": True}
    setup_testing_defaults(environ)
    environ["wsgi.input"] = given
    told: list[Any] = []
    answer = b"".join(application(environ, lambda status, headers, *_: told.extend([status, dict(headers)])))
    return told[0], told[1], json.loads(answer), given


def fine(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    return [b'"fine"']


def test_a_refusal_is_a_problem_with_a_time_to_come_back_and_is_counted(settings) -> None:
    settings.REQUEST_WAIT_MS = 1
    application = GatedWSGI(fine, full_house(working=1, waiting=1, matches_waiting=0))
    for path, reason in (("/v1/match", "full"), ("/v1/feedback", "late")):
        before = REFUSED.labels(reason=reason)._value.get()
        status, headers, problem, body = called(application, path, b"{}" * 100_000)
        assert (status, headers["Retry-After"]) == ("503 Service Unavailable", "1")
        assert headers["Content-Type"] == "application/problem+json"
        assert (problem["code"], problem["status"]) == ("overloaded", 503)
        assert problem["request_id"] == headers["X-Request-ID"]
        assert body.read() == b""  # read, so that the connection can be kept
        assert "Connection" not in headers
        assert REFUSED.labels(reason=reason)._value.get() == before + 1


@pytest.mark.parametrize("path", ["/v1/health", "/v1/health/", "/health", "/v1/metrics"])
def test_who_looks_at_the_hub_waits_for_nobody(path) -> None:
    application = GatedWSGI(fine, full_house(working=1, waiting=0, matches_waiting=0))
    assert called(application, path)[2] == "fine"
    assert called(application, "/v1/healthy")[2]["code"] == "overloaded"


def test_a_request_that_fails_gives_its_place_back() -> None:
    def broken(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        raise KeyError("a defect")

    held = Gate(working=1, waiting=0, matches_waiting=0)
    for _ in range(2):
        with pytest.raises(KeyError, match="a defect"):
            called(GatedWSGI(broken, held), "/v1/match")
    assert called(GatedWSGI(fine, held), "/v1/match")[2] == "fine"


def test_the_server_has_threads_left_when_all_places_are_taken() -> None:
    assert parts.REST_THREADS >= gate.WORKING + gate.WAITING + 8  # which refuse, and answer for health
    assert parts.REST_THREADS > parts.MATCHES_AT_ONCE > gate.WORKING + gate.MATCHES_WAITING
    command = parts.rest_command("127.0.0.1", 8203)
    assert command[command.index("--blocking-threads") + 1] == str(parts.REST_THREADS)


def test_the_docs_know_how_many_work_and_wait() -> None:
    for page, name in (("settings.md", "REQUEST_WAIT_MS"), ("operating.md", "More than the hub can do")):
        text = (Path("docs") / page).read_text().partition(f"## {name}\n")[2].partition("\n#")[0]
        for number in (gate.WORKING, gate.WAITING):
            assert f"{number} " in text, (page, number)
