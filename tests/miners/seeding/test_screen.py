"""What is shown while it runs."""

import io
import sys

import pytest
from django.core.management.base import OutputWrapper

from miners.seeding import screen
from miners.seeding.screen import Screen
from miners.seeding.tally import NAMED, Tally
from tests.miners.seeding.fleets import Watcher

pytestmark = pytest.mark.pure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(screen.time, "monotonic", lambda: self.now)


@pytest.fixture
def time(monkeypatch):
    return Time(monkeypatch)


def shown_on(out: io.StringIO, *, quiet: bool = False) -> Screen:
    return Screen(OutputWrapper(out), total=40, doing="connecting", quiet=quiet)


def tally(**counts: int) -> Tally:
    made = Tally(40, Watcher())
    for name, count in counts.items():
        setattr(made, name, count)
    return made


def test_where_lines_are_kept_a_status_comes_now_and_then_and_at_the_end(time) -> None:
    out = io.StringIO()
    shown = shown_on(out)
    shown.live(40)
    for beats in range(20, 280, 20):  # 13 ticks of a second, 20 heartbeats in each
        time.now += 1
        shown.tick(tally(online=39, beats=beats, reconnects=2))
    shown.close()
    line = "39 of 40 online, 20.0 heartbeats/s, 2 reconnects\n"
    assert out.getvalue() == "40 miners are live\n" + 2 * line


def test_on_a_terminal_the_status_is_one_line_that_is_written_over(time) -> None:
    out = Terminal()
    shown = shown_on(out)
    for beats in (10, 30):
        time.now += 1
        shown.tick(tally(online=40, beats=beats))
    shown.close()
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().endswith("\r\x1b[K40 of 40 online, 20.0 heartbeats/s, 0 reconnects\n")


def test_what_is_said_in_between_takes_the_place_of_the_status(time) -> None:
    out = Terminal()
    shown = shown_on(out)
    shown.tick(tally())
    shown.say("m1 stops: why")
    shown.close()
    assert out.getvalue().endswith("reconnects\r\x1b[Km1 stops: why\n")


def test_the_rate_is_that_of_the_last_ticks(time) -> None:
    """After 19 ticks between 20 samples at 5 a second, an early burst is forgotten."""
    out = Terminal()
    shown = shown_on(out)
    shown.tick(tally(beats=0))
    for i in range(20):
        time.now += 1
        shown.tick(tally(beats=1000 + 5 * i))
    assert out.getvalue().endswith("5.0 heartbeats/s, 0 reconnects")


def test_what_went_wrong_is_part_of_the_status(time) -> None:
    out = Terminal()
    told = tally(online=38, errors=3)
    told.stop("m1", "why")
    shown_on(out).tick(told)
    assert out.getvalue().endswith("38 of 40 online, 0.0 heartbeats/s, 0 reconnects, 1 stopped, 3 errors")


def test_quiet_it_still_says_what_others_wait_for(time) -> None:
    out = io.StringIO()
    shown = shown_on(out, quiet=True)
    shown.live(40)
    time.now += 60
    shown.tick(tally())
    shown.close()
    assert out.getvalue() == "40 miners are live\n"


@pytest.mark.parametrize(
    ("err", "quiet", "wanted"), [(Terminal, False, True), (Terminal, True, False), (io.StringIO, False, False)]
)
def test_the_bar_is_for_terminals(monkeypatch, err, quiet, wanted) -> None:
    monkeypatch.setattr(screen, "BAR_AFTER_S", 0)
    stderr = err()
    monkeypatch.setattr(sys, "stderr", stderr)
    shown = shown_on(io.StringIO(), quiet=quiet)
    shown.advance(20)
    shown.close()
    assert ("connecting" in stderr.getvalue()) is wanted


def test_a_run_that_is_over_at_once_shows_no_bar(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", stderr := Terminal())
    shown = shown_on(io.StringIO())
    shown.advance(40)
    shown.close()
    assert "connecting" not in stderr.getvalue()


def test_the_first_miners_that_stop_for_a_reason_are_named_and_the_rest_counted() -> None:
    watcher = Watcher()
    told = Tally(40, watcher)
    for number in range(20):
        told.stop(f"m{number}", "why")
    told.stop("other", "another reason")
    assert watcher.lines == [
        *(f"m{number} stops: why" for number in range(NAMED)),
        "more miners stop: why; from here on they are only counted",
        "other stops: another reason",
    ]
    assert told.stopped == 21


def test_they_are_live_once_all_that_have_not_stopped_are_online() -> None:
    watcher = Watcher()
    told = Tally(3, watcher)
    with told.connected("a"), told.connected("b"):
        assert watcher.online is None
        told.stop("c", "why")
        assert (watcher.online, watcher.up) == (2, 2)


def test_miners_that_all_stop_are_not_live() -> None:
    watcher = Watcher()
    told = Tally(1, watcher)
    told.stop("a", "why")
    assert watcher.online is None
